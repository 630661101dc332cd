"""How results are laid out, whoever draws them: comparisons, promises, single figures, gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.result import LeftOut, Measured, Ratio, Result


class Grid(NamedTuple):
    """Figures of several programs: a row for each name, a column for each program."""

    columns: Sequence[str]
    rows: Mapping[str, Mapping[str, Measured]]


class Layout(NamedTuple):
    """The results of a section."""

    comparison: Grid
    promises: Grid
    single: Sequence[Measured]
    left_out: Sequence[LeftOut]


def lay_out(results: Iterable[Result]) -> Layout:
    """Sort results; each stays in the order in which it came.

    What has programs beside it is compared, unless it is held against something: that is a promise.
    """
    compared: list[Measured] = []
    promised: list[Measured] = []
    single: list[Measured] = []
    gaps: list[LeftOut] = []
    for item in results:
        if isinstance(item, LeftOut):
            gaps.append(item)
        elif not item.program:
            single.append(item)
        elif item.target is not None or item.race is not None or isinstance(item, Ratio):
            promised.append(item)
        else:
            compared.append(item)
    return Layout(_grid(compared), _grid(promised), single, gaps)


def _grid(items: Sequence[Measured]) -> Grid:
    columns = list(dict.fromkeys(item.program for item in items))
    rows: dict[str, dict[str, Measured]] = {}
    for item in items:
        rows.setdefault(item.name, {})[item.program] = item
    return Grid(columns, rows)


def unit_of(row: Mapping[str, Measured]) -> str:
    """The unit of a row, in which all programs agree."""
    return next(iter(row.values())).unit


def number(value: float) -> str:
    """Three digits that count, thousands set apart; no power of ten."""
    if not math.isfinite(value):
        return "∞"
    if abs(value) >= 1000:
        digits = 2 - math.floor(math.log10(abs(value)))
        return f"{round(value, digits):,.0f}"
    return f"{value:.3g}"


def spread(item: Measured) -> str:
    """The lowest and the highest sample."""
    if len(item.samples) == 1:
        return "one sample"
    low, high = item.spread
    return f"{number(low)} … {number(high)}"


def verdict(item: Measured) -> str:
    """What the figure is held against, and how that went; empty if it is against nothing."""
    words = []
    if item.target is not None:
        words.append(f"{item.target} {'✓' if item.met else '✗ missed'}")
    if item.race is not None:
        words.append(f"race {item.race} {'✓' if item.won else 'not won'}")
    return ", ".join(words)


class Against(NamedTuple):
    """One figure of ours and a peer's: ``factor`` says how much better we are (1: even)."""

    name: str
    ours: Measured
    theirs: Measured
    factor: float


EVEN = 1.05
"""Up to this factor nobody is better: a machine that is shared can't tell."""


def compare(grid: Grid, ours: str, peer: str, causes: Iterable[str] = ()) -> list[Against]:
    """Every figure that both have, by how much better ours is; ``causes`` are names left out."""
    found = []
    for name, row in grid.rows.items():
        if ours in row and peer in row and name not in set(causes):
            found.append(Against(name, row[ours], row[peer], _factor(row[ours], row[peer])))
    return sorted(found, key=lambda each: -each.factor)


def _factor(ours: Measured, theirs: Measured) -> float:
    a, b = (theirs, ours) if ours.less else (ours, theirs)
    if a.median == b.median:
        return 1.0
    return a.median / b.median if b.median else math.inf
