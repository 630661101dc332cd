"""What a section of the benchmark yields: figures, ratios of them, and what it had to leave out."""

from __future__ import annotations

import dataclasses
import math
import statistics
import traceback
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Target(NamedTuple):
    """What a figure has to reach: at most, or at least, ``value`` (in the figure's own unit)."""

    bound: Literal["≤", "≥"]
    value: float

    def met_by(self, value: float) -> bool:
        """Whether ``value`` reaches it."""
        return value <= self.value if self.bound == "≤" else value >= self.value

    def __str__(self) -> str:
        return f"{self.bound} {self.value:g}"


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One figure: the median of ``samples``, and how far they lie apart.

    ``target`` is needed, ``race`` is wanted. Figures with the same ``name`` and different
    ``program`` are compared with each other; ``less`` says that the smaller one is better.
    """

    name: str
    unit: str
    samples: Sequence[float]
    target: Target | None = None
    race: Target | None = None
    program: str = ""
    less: bool = False

    @property
    def median(self) -> float:
        """The figure itself."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest sample."""
        return min(self.samples), max(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; ``None`` without one."""
        return None if self.target is None else self.target.met_by(self.median)

    @property
    def won(self) -> bool | None:
        """Whether the race is won; ``None`` without one."""
        return None if self.race is None else self.race.met_by(self.median)


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """The median of one figure as a multiple of another's; ``samples`` are those of each round.

    A round in which the other one was 0 counts as infinity.
    """

    name: str
    ours: Sequence[float]
    theirs: Sequence[float]
    target: Target | None = None
    race: Target | None = None
    program: str = ""
    less: bool = False
    unit: str = "times"

    @property
    def samples(self) -> list[float]:
        """Round by round: for the spread, as both have the machine's speed in common there."""
        return [_divide(a, b) for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def median(self) -> float:
        """The ratio of the medians."""
        return _divide(statistics.median(self.ours), statistics.median(self.theirs))

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest round."""
        return min(self.samples), max(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; ``None`` without one."""
        return None if self.target is None else self.target.met_by(self.median)

    @property
    def won(self) -> bool | None:
        """Whether the race is won; ``None`` without one."""
        return None if self.race is None else self.race.met_by(self.median)


def _divide(a: float, b: float) -> float:
    return a / b if b else math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not measured, and what it would take.

    ``fault``: it was tried, and one of our own programs failed.
    """

    name: str
    reason: str
    fault: bool = False


class Step(NamedTuple):
    """Not a result: where a section is, for who watches; ``share`` of it is done (0 to 1)."""

    words: str
    share: float


def sentence(error: Exception) -> str:
    """What to say of a failure in a table; the whole of it, with its logs, goes to stderr."""
    traceback.print_exception(error)
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}"


Measured = Figure | Ratio
Result = Measured | LeftOut
