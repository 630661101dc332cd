"""Whether ours is slower than the reference behind any pair of NATs, by runs in the lab.

One run of a pair says little: a machine pauses, and the reference may be anywhere in its interval
of five seconds. So a pair of which one run leaves a doubt is played again, the programs taking
turns. Slower is who is so by the median, and by more than the runs of either differ.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Self

from chancel.demo.nat_lab import Became, Case
from chancel.demo.programs import CHANCEL, Program

ONE_RUN_S: Final = 2.0
"""What one run alone may be wrong by. More of them tell it themselves."""

ROUNDS: Final = 5
"""Runs of each program in a pair that is in doubt, with the first."""

Pair = tuple[str, str]


class Times(NamedTuple):
    """Of several runs: the median, infinite if most never came so far, and the spread, by which
    the quickest and the slowest differ from the middle between them, seconds."""

    median_s: float
    spread_s: float
    runs: int

    @classmethod
    def of(cls, times: Iterable[float | None]) -> Self:
        """Of the times of at least one run; ``None`` for never."""
        found = [math.inf if each is None else each for each in times]
        finite = [each for each in found if each < math.inf]
        spread = (max(finite) - min(finite)) / 2 if len(finite) > 1 else ONE_RUN_S
        return cls(statistics.median_high(found), spread, len(found))

    def slower_than(self, other: Times) -> bool:
        """Whether by more than what the runs of either differ by."""
        return self.median_s > other.median_s + max(self.spread_s, other.spread_s)


class Figures(NamedTuple):
    """Of one program in one pair: until there was a tunnel, and until it was direct."""

    up: Times
    direct: Times


class Table:
    """All runs, by pair and program. One that broke off is none."""

    def __init__(self, results: Iterable[Became]) -> None:
        self._runs: dict[tuple[Pair, Program], list[Became]] = {}
        for each in results:
            case = each.case
            if not each.broke_off:
                self._runs.setdefault(((case.left, case.right), case.program), []).append(each)

    def figures(self, pair: Pair, program: Program) -> Figures | None:
        """Those of a program, if it has been there."""
        runs = self._runs.get((pair, program))
        if not runs:
            return None
        return Figures(Times.of(each.up_s for each in runs), Times.of(map(_direct_s, runs)))

    def doubtful(self) -> list[Pair]:
        """The pairs in which ours was later in anything that the reference came to."""
        return [pair for pair, _, _ in self._where(_later)]

    def slower(self) -> list[str]:
        """The pairs in which ours is slower, or relayed where the reference is direct; as lines
        for people."""
        told = []
        for pair, ours, theirs in self._where(Times.slower_than):
            for what, mine, other in zip(_WHAT, ours, theirs, strict=True):
                if mine.slower_than(other):
                    told.append(
                        f"{', '.join(pair)}: {what} {_said(mine)}, reference {_said(other)}"
                    )
        return told

    def _where(self, holds: Callable[[Times, Times], bool]) -> list[tuple[Pair, Figures, Figures]]:
        """The pairs, with our figures and the other's, of which it holds of either figure."""
        found = []
        for pair, program in self._runs:
            ours, theirs = self.figures(pair, CHANCEL), self.figures(pair, program)
            if program is CHANCEL or ours is None or theirs is None:
                continue
            if any(map(holds, ours, theirs)):
                found.append((pair, ours, theirs))
        return found


def again(pairs: Sequence[Pair], programs: Sequence[Program], rounds: int = ROUNDS) -> list[Case]:
    """What to perform once more, the programs taking turns."""
    return [
        Case(left, right, program)
        for _ in range(rounds - 1)
        for left, right in pairs
        for program in programs
    ]


_WHAT: Final = ("a tunnel", "a direct path")


def _direct_s(became: Became) -> float | None:
    """A path may be seen to be direct before the first ping has come back."""
    if became.up_s is None or became.direct_s is None:
        return None
    return max(became.up_s, became.direct_s)


def _later(mine: Times, other: Times) -> bool:
    return other.median_s < math.inf and mine.median_s > other.median_s


def _said(times: Times) -> str:
    if times.median_s == math.inf:
        return "never"
    several = f" ± {times.spread_s:.1f}" if times.runs > 1 else ""
    return f"after {times.median_s:.1f}{several} s"
