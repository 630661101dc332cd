"""Traffic through one tunnel, of all programs that there are, and what is promised of it.

In each round a program starts anew, carries every load, and ends. With masked datagrams (shroud),
and packet by packet (``offload off``), it carries a part of them.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import processes, vpns
from benchmarks.ends import Running, running
from benchmarks.pace import Pace
from benchmarks.result import LeftOut, Result, Step, sentence
from benchmarks.targets import promises
from benchmarks.turns import Rounds, alternate
from benchmarks.vpns import Vpn
from benchmarks.workloads import (
    MASKED,
    MASKED_MEASURES,
    MEASURES,
    UDP_LARGE,
    WORKLOADS,
    Sample,
    Workload,
    bulk,
    datagrams,
    idle_round_trips,
)
from chancel.errors import ChancelError

FEW: tuple[Workload, ...] = (idle_round_trips, bulk, datagrams(UDP_LARGE, "udp1300"))

FAILURES = (ChancelError, RuntimeError, subprocess.SubprocessError, OSError)
"""How a program under load may fail those that measure it."""


class Entry(NamedTuple):
    """A program, its column, what it carries, and what stands before the keys of its measures."""

    vpn: Vpn
    column: str
    workloads: Sequence[Workload] = WORKLOADS
    prefix: str = ""

    @property
    def name(self) -> str:
        """What is measured now."""
        return f"{self.column}, shroud on" if self.prefix else self.column


class Outcome(NamedTuple):
    """The figures of one round, and a sentence for each load that failed."""

    sample: Sample
    failures: list[str]


def run(pace: Pace) -> Iterator[Result | Step]:
    """All figures, then what is promised of them."""
    entries = {entry.name: entry for entry in _entries()}
    rounds = Rounds({**MEASURES, **MASKED_MEASURES})
    jobs = {
        name: functools.partial(measure, entry, pace.seconds) for name, entry in entries.items()
    }
    ours = [vpn.name for vpn in vpns.ours()]
    failed = []
    for item in alternate("tunnel", jobs, pace.rounds):
        if isinstance(item, Step):
            yield item
            continue
        entry = entries[item.name]
        rounds.add(entry.column, item.number, item.result.sample)
        failed += [
            LeftOut(f"{item.name}, round {item.number + 1}", each, fault=entry.column in ours)
            for each in item.result.failures
        ]
    yield from rounds.figures()
    yield from promises(rounds, ours)
    yield from failed
    yield from vpns.left_out()
    if missing := processes.Calls.missing():
        yield LeftOut(MEASURES["calls"].name, missing)


def _entries() -> Iterator[Entry]:
    for vpn in (*vpns.ours(), *vpns.peers()):
        yield Entry(vpn, vpn.name)
    yield Entry(vpns.PER_PACKET, vpns.PER_PACKET.name, FEW)
    for daemon in (*vpns.ours(), vpns.reference()):
        if daemon is not None:
            yield Entry(daemon.shrouded(), daemon.name, FEW, MASKED)


def measure(entry: Entry, seconds: float) -> Outcome:
    """One round of one program."""
    sample: Sample = {}
    failures: list[str] = []
    try:
        with running(entry.vpn) as tunnel:
            sample["first_packet"] = tunnel.first_answer_s
            for workload in entry.workloads:
                _carry(workload, tunnel, seconds, sample, failures)
            sample["memory"], sample["lanes"] = tunnel.memory_alone()
    except FAILURES as error:
        failures.append(sentence(error))
    if entry.prefix:
        sample = {f"{entry.prefix}{key}": value for key, value in sample.items()}
    return Outcome(sample, failures)


def _carry(
    workload: Workload, tunnel: Running, seconds: float, sample: Sample, failures: list[str]
) -> None:
    """One load; if the program fails under it, the next one may still pass."""
    try:
        sample.update(workload(tunnel.ends, seconds))
    except FAILURES as error:
        failures.append(sentence(error))
