"""What a section of the benchmark yields: figures, and what it had to leave out."""

from __future__ import annotations

import dataclasses
import statistics
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
    """One line of the table: the median of ``samples``, and how far they lie apart."""

    name: str
    unit: str
    samples: Sequence[float]
    target: Target | None = None

    @property
    def median(self) -> float:
        """The figure itself."""
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; ``None`` without one."""
        return None if self.target is None else self.target.met_by(self.median)


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not measured, and what it would take."""

    name: str
    reason: str


Result = Figure | LeftOut
