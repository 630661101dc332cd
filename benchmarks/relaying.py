"""Two devices of ours whose traffic a cathedral relays: ours, with the accelerator and without, or
the reference's.

Each device has a wire of the kernel's to the cathedral and is told not to look for a direct path.
The parishes stand side by side, all but one at rest, and take turns under the loads of a tunnel.
The cathedral's own work is told apart from that of all. Its memory is that of another one, which
has relayed and then is alone: no device of ours is left that would share a part of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import processes, stage
from benchmarks.carrying import FAILURES, Outcome, carry
from benchmarks.ends import Ends, Side
from benchmarks.pace import Pace
from benchmarks.result import LeftOut, Result, Step, Target, sentence
from benchmarks.stage import Stage
from benchmarks.turns import Rounds, Turn, alternate
from benchmarks.workloads import (
    BOTH_WAYS,
    FULL_PACKET_BYTES,
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
from chancel.daemon import ctl
from chancel.daemon.hot import twins
from chancel.demo.parish import Plan
from chancel.demo.play import PING, UP_LIMIT_S, Play
from chancel.demo.programs import CHANCEL, Program

ROUNDS = 2
"""In a usual run, with the loads that have no target; in a whole one all rounds have them."""

FAST = Plan(mtu="1422", nat_detection=False, kernel=True)
PYTHON = dataclasses.replace(FAST, extra=("accelerator off",))

OUR_CATHEDRALS = ("our cathedral, accelerator", "our cathedral, pure")

TCP: tuple[Workload, ...] = (bulk_back,)
ALL: tuple[Workload, ...] = (
    *TCP,
    idle_round_trips,
    many_streams,
    loaded_round_trips,
    datagrams(UDP_LARGE, "udp1300"),
    datagrams(UDP_SMALL, "udp64"),
    mixed,
)
"""Beside ``bulk``, whose cost is told in two figures."""

RATE, WORK = Target("≥", 2.0), Target("≤", 0.5)
"""What is promised of ours beside the reference's, as it is installed here: of what one TCP stream
carries, and of the cathedral's work for it."""

_ALL, _ONE = "of all", "of the cathedral"

RELAY_MEASURES = {
    key: measure._replace(name=f"relayed: {measure.name}")
    for key, measure in {
        **{key: each for key, each in MEASURES.items() if key not in ("memory", "lanes")},
        "work": MEASURES["work"]._replace(name=f"work {_ALL}"),
        "wakeups": MEASURES["wakeups"]._replace(name=f"wake-ups {_ALL}"),
        "relay_work": MEASURES["work"]._replace(name=f"work {_ONE}"),
        "relay_wakeups": MEASURES["wakeups"]._replace(name=f"wake-ups {_ONE}"),
        "relay_memory": MEASURES["memory"]._replace(name=f"memory {_ONE} after traffic (PSS)"),
    }.items()
}


class Column(NamedTuple):
    """A cathedral that takes part: what it is called, its program, and what its parish is like."""

    name: str
    program: Program
    plan: Plan


class Relay(NamedTuple):
    """Two devices and their cathedral at work."""

    playing: Play
    ends: Ends
    cathedral: list[int]


def run(pace: Pace) -> Iterator[Result | Step]:
    """The figures of a tunnel, relayed; and what is promised of ours beside the reference's."""
    rounds = Rounds(RELAY_MEASURES)
    columns = list(_columns())
    ours = {each.name for each in columns if each.program is CHANCEL}
    failed: list[LeftOut] = []
    with stage.stage() as shared:
        for item in _in_turns(shared, columns, pace):
            if isinstance(item, Step):
                yield item
                continue
            rounds.add(item.name, item.number, item.result.sample)
            failed += item.result.told(item.name, item.number, fault=item.name in ours)
        yield Step("relaying: memory", 0.95)
        for column in columns:
            outcome = _alone(shared, column, pace.seconds)
            rounds.add(column.name, 0, outcome.sample)
            failed += outcome.told(f"{column.name}: memory", 0, fault=column.name in ours)
    yield from rounds.figures()
    yield from _ratios(rounds, columns)
    yield from failed
    yield from stage.left_out("relaying")


def _columns() -> Iterator[Column]:
    ours, *others = stage.programs()
    accelerated, pure = OUR_CATHEDRALS
    if twins.module() is not None:
        yield Column(accelerated, ours, FAST)
    yield Column(pure, ours, PYTHON)
    for each in others:
        yield Column(f"{each.name}'s cathedral", each, FAST)


def _in_turns(
    shared: Stage, columns: Sequence[Column], pace: Pace
) -> Iterator[Step | Turn[Outcome]]:
    """All rounds; in a usual run only the first ones have all loads."""
    fully = pace.rounds if pace.whole else min(ROUNDS, pace.rounds)
    with contextlib.ExitStack() as stack:
        relays = {each.name: stack.enter_context(relayed(shared, each)) for each in columns}
        for loads, span in ((ALL, range(fully)), (TCP, range(fully, pace.rounds))):
            jobs = {
                name: functools.partial(measure, relay, loads, pace.seconds)
                for name, relay in relays.items()
            }
            yield from alternate("relaying", jobs, pace.rounds, span)


def _ratios(rounds: Rounds, columns: Sequence[Column]) -> Iterator[Result]:
    ours = [each.name for each in columns if each.program is CHANCEL]
    for theirs in [each.name for each in columns if each.program is not CHANCEL]:
        for own in ours:
            installed = own == ours[0]
            yield rounds.ratio(BOTH_WAYS, own, theirs, RATE if installed else None)
            yield rounds.ratio("relay_work", own, theirs, WORK if installed else None)


@contextlib.contextmanager
def relayed(shared: Stage, column: Column) -> Iterator[Relay]:
    """A tunnel of ours that is up and stays relayed. Raises RuntimeError if the cathedral isn't
    what its column says."""
    roles = [column.program, CHANCEL, CHANCEL]
    with shared.play("relaying", column.plan, roles) as playing:
        _bring_up(playing)
        if column.program is CHANCEL:
            _check(playing, column)
        hosts = [seat.host for seat in playing.parish.seats]
        relay, *devices = (host.call("benchmarks.processes:in_this_host") for host in hosts)
        left, right = (Side(device.host, device.inner) for device in playing.parish.devices)
        yield Relay(playing, Ends(left, right, [*relay, *devices[0], *devices[1]]), relay)


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


def _check(playing: Play, column: Column) -> None:
    (control,) = playing.parish.cathedrals[0].runtime.glob("*.ctl")
    state = ctl.ask(control, {"do": "status"})["group"]["accelerator"]
    if (state == "on") != (column.plan is FAST and twins.module() is not None):
        raise RuntimeError(f"{column.name}: its accelerator is {state}")


def measure(relay: Relay, loads: Sequence[Workload], seconds: float) -> Outcome:
    """One round by one cathedral: bulk, told of all and of the cathedral, and the other loads."""
    outcome = Outcome({}, [])

    def costs(ends: Ends, seconds: float) -> Sample:
        work, wakeups = processes.work_s(relay.cathedral), processes.wakeups(relay.cathedral)
        sample = bulk(ends, seconds)
        octets = sample["tcp1"] * 1e9 / 8 * seconds
        work = processes.work_s(relay.cathedral) - work
        wakeups = processes.wakeups(relay.cathedral) - wakeups
        sample["relay_work"] = work / (octets / 1e9)
        sample["relay_wakeups"] = wakeups / (octets / FULL_PACKET_BYTES) * 1e3
        return sample

    carry((costs, *loads), relay.ends, seconds, outcome)
    return outcome


def _alone(shared: Stage, column: Column, seconds: float) -> Outcome:
    """The memory of a cathedral that has relayed, when its devices have gone."""
    outcome = Outcome({}, [])
    try:
        with relayed(shared, column) as relay:
            carry((bulk, datagrams(UDP_LARGE, "udp1300")), relay.ends, seconds, outcome)
            for device in relay.playing.parish.devices:
                relay.playing.kill(device)
            host = relay.playing.parish.cathedrals[0].host
            own, _lanes = host.call("benchmarks.processes:memory_mb", relay.cathedral)
    except FAILURES as error:
        outcome.failures.append(sentence(error))
        return Outcome({}, outcome.failures)
    return Outcome({"relay_memory": own}, outcome.failures)
