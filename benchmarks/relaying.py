"""Two devices of ours whose traffic a cathedral relays: our cathedral, or the reference's.

Each device has a wire of the kernel's to the cathedral and is told not to look for a direct path.
Both parishes stand side by side, one at rest, and take turns under the loads of a tunnel. The
cathedral's own work is told apart from that of all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks import processes, stage
from benchmarks.ends import Ends, Side
from benchmarks.pace import Pace
from benchmarks.result import Result, Step, Target
from benchmarks.stage import Stage
from benchmarks.turns import Rounds, alternate
from benchmarks.workloads import (
    MEASURES,
    UDP_LARGE,
    UDP_SMALL,
    Sample,
    Workload,
    bulk,
    bulk_back,
    datagrams,
    idle_round_trips,
    loaded_round_trips,
    many_streams,
    mixed,
)
from chancel.demo.parish import Plan
from chancel.demo.play import PING, UP_LIMIT_S, Play
from chancel.demo.programs import CHANCEL, Program

ROUNDS = 3
"""In a usual run; a whole one has as many as everything else."""

FAST = Plan(mtu="1422", nat_detection=False, kernel=True)

LOADS: tuple[Workload, ...] = (
    idle_round_trips,
    bulk_back,
    many_streams,
    loaded_round_trips,
    datagrams(UDP_LARGE, "udp1300"),
    datagrams(UDP_SMALL, "udp64"),
    mixed,
)
"""Beside ``bulk``, whose cost is told in two figures."""

RELAY_MEASURES = {
    key: measure._replace(name=f"relayed: {measure.name}")
    for key, measure in {
        **MEASURES,
        "work": MEASURES["work"]._replace(name="work of all"),
        "wakeups": MEASURES["wakeups"]._replace(name="wake-ups of all"),
        "cathedral_work": MEASURES["work"]._replace(name="work of the cathedral"),
    }.items()
}


class Relay(NamedTuple):
    """Two devices and their cathedral at work."""

    ends: Ends
    cathedral: list[int]


def run(pace: Pace) -> Iterator[Result | Step]:
    """The figures of a tunnel, relayed; and the bulk rate by ours as a multiple of theirs."""
    rounds = Rounds(RELAY_MEASURES)
    programs = stage.programs()
    columns = {each.name: f"{each.name}'s cathedral" for each in programs}
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(stage.stage())
        jobs = {
            columns[each.name]: functools.partial(
                measure, stack.enter_context(relayed(shared, each)), pace.seconds
            )
            for each in programs
        }
        for item in alternate(
            "relaying", jobs, pace.rounds if pace.whole else min(ROUNDS, pace.rounds)
        ):
            if isinstance(item, Step):
                yield item
            else:
                rounds.add(item.name, item.number, item.result)
    yield from rounds.figures()
    yield from _ratios(rounds, list(columns.values()))
    yield from stage.left_out("relaying")


def _ratios(rounds: Rounds, columns: list[str]) -> Iterator[Result]:
    for theirs in columns[1:]:
        yield rounds.ratio("tcp1", columns[0], theirs, Target("≥", 2.0))
        yield rounds.ratio("cathedral_work", columns[0], theirs, Target("≤", 0.5))


@contextlib.contextmanager
def relayed(shared: Stage, cathedral: Program) -> Iterator[Relay]:
    """A tunnel of ours that is up and stays relayed."""
    with shared.play(cathedral.name, FAST, [cathedral, CHANCEL, CHANCEL]) as playing:
        _bring_up(playing)
        hosts = [seat.host for seat in playing.parish.seats]
        relay, *devices = (host.call("benchmarks.processes:in_this_host") for host in hosts)
        left, right = (Side(device.host, device.inner) for device in playing.parish.devices)
        yield Relay(Ends(left, right, [*relay, *devices[0], *devices[1]]), relay)


def _bring_up(playing: Play) -> None:
    """Nobody watches, which would cost."""
    for device in playing.parish.devices:
        playing.start(device)
    playing.until(
        lambda: playing.left.host.call(PING, playing.right.inner, 1, 0.0)["received"],
        UP_LIMIT_S,
        "the tunnel is up",
    )
    playing.ping_both_ways()


def measure(relay: Relay, seconds: float) -> Sample:
    """One round by one cathedral."""
    before = processes.work_s(relay.cathedral)
    sample = bulk(relay.ends, seconds)
    octets = sample["tcp1"] * seconds / 8 * 1e9
    sample["cathedral_work"] = (processes.work_s(relay.cathedral) - before) / (octets / 1e9)
    for load in LOADS:
        sample.update(load(relay.ends, seconds))
    return sample
