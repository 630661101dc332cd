"""Devices that meet through cathedrals: all roles played by Chancel, and all by the reference.

Three topologies of the lab, whose files are the same for both:

* Two devices behind a NAT each (port-restricted), one cathedral. Time until a ping is answered
  ("tunnel"), and until all goes to the peer itself, as seen at the device's interface ("direct").
  It starts when the devices' processes are started, so Python's own start counts; the cathedral is
  at work already, and the devices take their shared secret from an ambry.
* The same with two federated cathedrals, and NATs that keep it relayed. The cathedral of both is
  killed; time until a ping is answered again.
* Two devices of ours with a wire of the kernel's to a cathedral, ours or the reference's, told not
  to look for a direct path. Bulk TCP.

Programs take turns, round by round; but recoveries, which are minutes of waiting, side by side.
The reference takes part as root with SANCTUM=/path/to/sanctum.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.result import Figure, LeftOut, Result, Target
from benchmarks.tunnel import tcp
from chancel.daemon import places
from chancel.demo.parish import Plan
from chancel.demo.play import PING, UP_LIMIT_S, Play
from chancel.demo.programs import CHANCEL, Program, reference
from chancel.demo.sacristy import Sacristy
from chancel.sim.nat import NAT_TYPES

ROUNDS = 3
TCP_ROUNDS = 5

CONE, SYMMETRIC = NAT_TYPES["port-restricted"], NAT_TYPES["symmetric"]
AT_HOME = Plan(nats=(CONE, CONE))
RELAYED = Plan(cathedrals=2, nats=(SYMMETRIC, SYMMETRIC), remembrance=True)
FAST = Plan(mtu="1422", nat_detection=False, kernel=True)

NEVER_SLOWER = Target("≤", 1.0)
SILENCE = Target("≤", 45.0)
"""Seconds for which the reference waits before it believes that a cathedral is dead."""


class Met(NamedTuple):
    """Seconds from the start of the devices."""

    up_s: float
    direct_s: float


class Stage:
    """Where parishes are built: a folder, and keys that they have in common."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sacristy = Sacristy(folder / "sacristy")
        self._sacristy.bundle()

    def play(self, name: str, plan: Plan, roles: Sequence[Program]) -> Play:
        """A parish of its own, to be used with ``with``; roles: cathedrals first, then devices."""
        home = self._folder / name
        home.mkdir()
        return Play(home, plan, roles, self._sacristy)


def run() -> Iterator[Result]:
    """Seconds of each program, and Chancel's as a multiple of the reference's; relayed TCP."""
    programs = [CHANCEL]
    path = os.environ.get("SANCTUM")
    if path and places.is_machine_root():
        programs.append(reference(path))
    with tempfile.TemporaryDirectory(prefix="chancel-meeting-") as folder:
        stage = Stage(Path(folder))
        yield from _meetings(stage, programs)
        yield from _recoveries(stage, programs)
        yield from _relayed_tcp(stage, programs)
    if len(programs) == 1:
        yield LeftOut("meeting: reference", "as root: make bench SANCTUM=/path/to/sanctum")


def _meetings(stage: Stage, programs: Sequence[Program]) -> Iterator[Result]:
    met: dict[str, list[Met]] = {program.name: [] for program in programs}
    for number in range(ROUNDS):
        for program in programs:
            met[program.name].append(meet(stage, program, number))
    up = {name: [each.up_s for each in seen] for name, seen in met.items()}
    direct = {name: [each.direct_s for each in seen] for name, seen in met.items()}
    yield from _side_by_side("two NATs, time to tunnel", up)
    yield from _side_by_side("two NATs, time to direct", direct)


def _recoveries(stage: Stage, programs: Sequence[Program]) -> Iterator[Result]:
    with ThreadPoolExecutor(ROUNDS * len(programs)) as pool:
        told = {
            program.name: [pool.submit(recover, stage, program, n) for n in range(ROUNDS)]
            for program in programs
        }
        seconds = {name: [each.result() for each in futures] for name, futures in told.items()}
    yield from _side_by_side("cathedral's death to next answer", seconds, SILENCE)


def _relayed_tcp(stage: Stage, programs: Sequence[Program]) -> Iterator[Result]:
    rates: dict[str, list[float]] = {program.name: [] for program in programs}
    with contextlib.ExitStack() as stack:
        plays = {each.name: stack.enter_context(relayed(stage, each)) for each in programs}
        for _ in range(TCP_ROUNDS):
            for name, playing in plays.items():
                rates[name].append(tcp(playing.left.host, playing.right.host))
    for name, samples in rates.items():
        yield Figure(f"TCP relayed by a cathedral: {name}", "Gbit/s", samples)
    if len(programs) > 1:
        ratios = _ratios(rates)
        name = "TCP relayed: our cathedral / the reference's"
        yield Figure(name, "times", ratios, Target("≥", 2.0))


def meet(stage: Stage, program: Program, number: int) -> Met:
    """One round of one program in all roles: from nothing to a direct path."""
    with stage.play(f"meet-{program.name}-{number}", AT_HOME, [program] * 3) as playing:
        return Met(playing.come_up(), playing.wait_direct())


def recover(stage: Stage, program: Program, number: int) -> float:
    """One round of one program in all roles: seconds without an answer."""
    with stage.play(f"recover-{program.name}-{number}", RELAYED, [program] * 4) as playing:
        playing.come_up()
        playing.wait_relayed()
        return playing.fail_over()


@contextlib.contextmanager
def relayed(stage: Stage, cathedral: Program) -> Iterator[Play]:
    """A tunnel of ours that is up and stays relayed. Nobody watches, which would cost."""
    with stage.play(f"tcp-{cathedral.name}", FAST, [cathedral, CHANCEL, CHANCEL]) as playing:
        left, right = playing.left, playing.right
        for device in (left, right):
            playing.start(device)
        playing.until(
            lambda: left.host.call(PING, right.inner, 1, 0.0)["received"],
            UP_LIMIT_S,
            "the tunnel is up",
        )
        playing.ping_both_ways()
        yield playing


def _side_by_side(
    what: str, seconds: dict[str, list[float]], target: Target | None = None
) -> Iterator[Result]:
    """Each program's seconds, ours with a target if there is one, and the ratio."""
    for name, samples in seconds.items():
        yield Figure(f"{what}: {name}", "s", samples, target if name == CHANCEL.name else None)
    if len(seconds) > 1:
        yield Figure(f"{what}: chancel / reference", "times", _ratios(seconds), NEVER_SLOWER)


def _ratios(samples: dict[str, list[float]]) -> list[float]:
    """Round by round, the first program's as multiples of the second's."""
    ours, theirs = samples.values()
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]
