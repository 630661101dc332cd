"""Devices that meet through cathedrals: all roles played by Chancel, and all by the reference.

Two topologies of the lab, whose files are the same for both:

* Two devices behind a NAT each (port-restricted), one cathedral. Time until a ping is answered
  ("tunnel"), and until all goes to the peer itself, as seen at the device's interface ("direct").
  It starts when the devices' processes are started, so Python's own start counts; the cathedral is
  at work already, and the devices take their shared secret from an ambry.
* The same with two federated cathedrals, and NATs that keep it relayed. The cathedral of both is
  killed; time until a ping is answered again. Only in a whole run, as it is minutes of waiting.

Programs take turns, round by round; but recoveries side by side. The reference takes part as root
with SANCTUM=/path/to/sanctum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks import stage
from benchmarks.pace import Pace
from benchmarks.result import Figure, LeftOut, Ratio, Result, Step, Target
from benchmarks.stage import Stage
from benchmarks.turns import alternate
from chancel.demo.parish import Plan
from chancel.demo.programs import CHANCEL, Program
from chancel.sim.nat import NAT_TYPES

ROUNDS, WHOLE_ROUNDS = 2, 3

CONE, SYMMETRIC = NAT_TYPES["port-restricted"], NAT_TYPES["symmetric"]
AT_HOME = Plan(nats=(CONE, CONE))
RELAYED = Plan(cathedrals=2, nats=(SYMMETRIC, SYMMETRIC), remembrance=True)

NEVER_SLOWER = Target("≤", 1.0)
SILENCE = Target("≤", 45.0)
"""Seconds for which the reference waits before it believes that a cathedral is dead."""


class Met(NamedTuple):
    """Seconds from the start of the devices."""

    up_s: float
    direct_s: float


def run(pace: Pace) -> Iterator[Result | Step]:
    """Seconds of each program, and Chancel's as a multiple of the reference's."""
    programs = stage.programs()
    with stage.stage() as shared:
        yield from _meetings(shared, programs, WHOLE_ROUNDS if pace.whole else ROUNDS)
        if pace.whole:
            yield Step("recoveries, side by side", 0.8)
            yield from _recoveries(shared, programs)
        else:
            yield LeftOut("cathedral's death to next answer", "only in make bench-full")
    yield from stage.left_out("meeting")


def _meetings(shared: Stage, programs: Sequence[Program], rounds: int) -> Iterator[Result | Step]:
    met: dict[str, list[Met]] = {program.name: [] for program in programs}
    jobs = {each.name: functools.partial(meet, shared, each) for each in programs}
    for item in alternate("meeting", jobs, rounds):
        if isinstance(item, Step):
            yield item
        else:
            met[item.name].append(item.result)
    up = {name: [each.up_s for each in seen] for name, seen in met.items()}
    direct = {name: [each.direct_s for each in seen] for name, seen in met.items()}
    yield from _side_by_side("two NATs, time to tunnel", up)
    yield from _side_by_side("two NATs, time to direct", direct)


def _recoveries(shared: Stage, programs: Sequence[Program]) -> Iterator[Result]:
    with ThreadPoolExecutor(WHOLE_ROUNDS * len(programs)) as pool:
        told = {
            program.name: [pool.submit(recover, shared, program) for _ in range(WHOLE_ROUNDS)]
            for program in programs
        }
        seconds = {name: [each.result() for each in futures] for name, futures in told.items()}
    yield from _side_by_side("cathedral's death to next answer", seconds, SILENCE)


def meet(shared: Stage, program: Program) -> Met:
    """One round of one program in all roles: from nothing to a direct path."""
    with shared.play(f"meet-{program.name}", AT_HOME, [program] * 3) as playing:
        up = playing.come_up()
        return Met(up, max(up, playing.wait_direct()))  # it may be direct before the first echo


def recover(shared: Stage, program: Program) -> float:
    """One round of one program in all roles: seconds without an answer."""
    with shared.play(f"recover-{program.name}", RELAYED, [program] * 4) as playing:
        playing.come_up()
        playing.wait_relayed()
        return playing.fail_over()


def _side_by_side(
    what: str, seconds: dict[str, list[float]], target: Target | None = None
) -> Iterator[Result]:
    """Each program's seconds, ours with a target if there is one, and the ratio."""
    for name, samples in seconds.items():
        mine = target if name == CHANCEL.name else None
        yield Figure(what, "s", samples, mine, program=name, less=True)
    if len(seconds) > 1:
        ours, theirs = seconds.values()
        yield Ratio(f"{what}, against reference", ours, theirs, NEVER_SLOWER, program=CHANCEL.name)
