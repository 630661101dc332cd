"""Traffic through one tunnel, of all programs that there are, and what is promised of it.

In each round a program starts anew, carries every load, and ends. With masked datagrams (shroud),
and packet by packet (``offload off``), it carries a part of them. That of which nothing is promised
(packet by packet, and system calls) is in the first rounds only, unless the run is a whole one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import processes, vpns
from benchmarks.carrying import FAILURES, Outcome, carry
from benchmarks.ends import running
from benchmarks.pace import Pace
from benchmarks.result import LeftOut, Result, Step, sentence
from benchmarks.targets import promises
from benchmarks.turns import Rounds, Turn, alternate
from benchmarks.vpns import Vpn
from benchmarks.workloads import (
    MASKED,
    MASKED_MEASURES,
    MEASURES,
    UDP_LARGE,
    WORKLOADS,
    Workload,
    bulk,
    calls,
    datagrams,
    idle_round_trips,
)

FEW: tuple[Workload, ...] = (idle_round_trips, bulk, datagrams(UDP_LARGE, "udp1300"))

FIRST_ROUNDS = 2


class Entry(NamedTuple):
    """A program, its column, what it carries, and what stands before the keys of its measures.

    ``more``: loads of which nothing is promised; ``is_promised``: whether anything is.
    """

    vpn: Vpn
    column: str
    workloads: Sequence[Workload] = WORKLOADS
    prefix: str = ""
    more: tuple[Workload, ...] = ()
    is_promised: bool = True

    @property
    def name(self) -> str:
        """What is measured now."""
        return f"{self.column}, shroud on" if self.prefix else self.column


def run(pace: Pace) -> Iterator[Result | Step]:
    """All figures, then what is promised of them."""
    entries = {entry.name: entry for entry in _entries()}
    rounds = Rounds({**MEASURES, **MASKED_MEASURES})
    ours = [vpn.name for vpn in vpns.ours()]
    failed: list[LeftOut] = []
    for item in _in_turns(list(entries.values()), pace):
        if isinstance(item, Step):
            yield item
            continue
        entry = entries[item.name]
        rounds.add(entry.column, item.number, item.result.sample)
        failed += item.result.told(item.name, item.number, fault=entry.column in ours)
    yield from rounds.figures()
    yield from promises(rounds, ours)
    yield from failed
    yield from vpns.left_out()
    if missing := processes.Calls.missing():
        yield LeftOut(MEASURES["calls"].name, missing)


def _in_turns(entries: Sequence[Entry], pace: Pace) -> Iterator[Step | Turn[Outcome]]:
    fully = pace.rounds if pace.whole else min(FIRST_ROUNDS, pace.rounds)
    less = [each._replace(more=()) for each in entries if each.is_promised]
    for chosen, span in ((entries, range(fully)), (less, range(fully, pace.rounds))):
        jobs = {each.name: functools.partial(measure, each, pace.seconds) for each in chosen}
        yield from alternate("tunnel", jobs, pace.rounds, span)


def _entries() -> Iterator[Entry]:
    for vpn in (*vpns.ours(), *vpns.peers()):
        yield Entry(vpn, vpn.name, more=(calls,))
    yield Entry(vpns.PER_PACKET, vpns.PER_PACKET.name, FEW, is_promised=False)
    for daemon in (*vpns.ours(), vpns.reference()):
        if daemon is not None:
            yield Entry(daemon.shrouded(), daemon.name, FEW, MASKED)


def measure(entry: Entry, seconds: float) -> Outcome:
    """One round of one program."""
    outcome = Outcome({}, [])
    sample = outcome.sample
    try:
        with running(entry.vpn) as tunnel:
            sample["first_packet"] = tunnel.first_answer_s
            carry((*entry.workloads, *entry.more), tunnel.ends, seconds, outcome)
            sample["memory"], sample["lanes"] = tunnel.memory_alone()
    except FAILURES as error:
        outcome.failures.append(sentence(error))
    if entry.prefix:
        return Outcome(
            {f"{entry.prefix}{key}": value for key, value in sample.items()}, outcome.failures
        )
    return outcome
