"""What is promised of a tunnel's traffic, against the peers of the same run.

"Needed" is a target; "race" is what is wanted beyond it. Memory and wake-ups are held against
theirs where they are measured (``group``, ``idle``, ``tunnels``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from benchmarks.result import Figure, LeftOut, Ratio, Target
from benchmarks.turns import Rounds
from benchmarks.vpns import ACCELERATED, PURE, REFERENCE, WIREGUARD
from benchmarks.workloads import BOTH_WAYS, MEASURES


class Goal(NamedTuple):
    """Multiples of the peer's figure: what is needed, and what is wanted."""

    needed: float
    race: float | None = None


class Promise(NamedTuple):
    """A measure (or one measured either way), the peer it is held against, and the goals of each of
    our programs."""

    key: str | tuple[str, ...]
    peer: str
    bound: Literal["≤", "≥"]
    pure: Goal | None
    accelerated: Goal | None


PROMISES = (
    Promise(BOTH_WAYS, WIREGUARD, "≥", Goal(0.8, 1.0), Goal(1.5, 2.3)),
    Promise(BOTH_WAYS, REFERENCE, "≥", Goal(3.0), Goal(6.0, 9.0)),
    Promise("udp1300", REFERENCE, "≥", Goal(1.3), Goal(1.6, 1.9)),
    Promise("udp1300", WIREGUARD, "≥", Goal(1.5), Goal(1.9, 2.3)),
    Promise("udp64", REFERENCE, "≥", Goal(1.5), Goal(1.5, 2.2)),
    Promise("mixed", REFERENCE, "≥", Goal(1.5), Goal(3.0)),
    Promise("rtt_idle", REFERENCE, "≤", Goal(1.8), Goal(1.3, 1.0)),
    Promise("rtt_loaded_p99", WIREGUARD, "≤", Goal(1.0), None),
    Promise("rtt_loaded_p99", REFERENCE, "≤", None, Goal(1.0)),
    Promise("shroud_tcp1", REFERENCE, "≥", Goal(1.0), Goal(3.0)),
)
"""As they were set before the work on them began."""

LOADED_RACE_MS = Target("≤", 10.0)

MEMORY_MB = Target("≤", 60.0)
"""Of one end's group, without lanes."""
MANY_MEMORY = Target("≤", 2.0)
"""Of 128 tunnels in a group, as a multiple of one."""
SPARE_WAKEUPS = Target("≤", 0.0)
"""Beyond those that the protocol's own timers cause."""


def promises(rounds: Rounds, ours: Sequence[str]) -> Iterator[Ratio | Figure | LeftOut]:
    """Every promise, held against what was measured of our programs."""
    for promise in PROMISES:
        for program in ours:
            goal = {PURE.name: promise.pure, ACCELERATED.name: promise.accelerated}[program]
            if goal is not None:
                needed = Target(promise.bound, goal.needed)
                race = None if goal.race is None else Target(promise.bound, goal.race)
                yield rounds.ratio(promise.key, program, promise.peer, needed, race)
    if samples := list(rounds.values(ACCELERATED.name, "rtt_loaded_p99").values()):
        measure = MEASURES["rtt_loaded_p99"]
        name = f"{measure.name}, in itself"
        yield Figure(name, measure.unit, samples, None, LOADED_RACE_MS, ACCELERATED.name, True)
