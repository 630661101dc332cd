"""The results on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmarks.layout import Grid, lay_out, number, spread, unit_of, verdict
from benchmarks.result import LeftOut, Measured, Result


def as_tables(results: Mapping[str, Sequence[Result]], title: str) -> RenderableType:
    """Tables for a person: per section what is compared, what is promised, and the rest."""
    parts: list[RenderableType] = [Text(title)]
    for section, items in results.items():
        layout = lay_out(items)
        if layout.comparison.rows:
            parts.append(_comparison(section, layout.comparison))
        rest = [item for row in layout.promises.rows.values() for item in row.values()]
        lines = [*map(_line, [*rest, *layout.single]), *map(_gap, layout.left_out)]
        if lines:
            parts.append(_lines(section, lines))
    return Group(*parts)


def _comparison(section: str, grid: Grid) -> Table:
    table = _titled(section, "figure", "unit")
    for column in grid.columns:
        table.add_column(column, justify="right")
    for name, row in grid.rows.items():
        table.add_row(name, unit_of(row), *_cells(grid, row))
    return table


def _cells(grid: Grid, row: Mapping[str, Measured]) -> Iterator[str]:
    for column in grid.columns:
        item = row.get(column)
        yield "" if item is None else f"{number(item.median)}\n[dim]{spread(item)}[/]"


def _lines(section: str, lines: Sequence[tuple[str, str, str, str, str]]) -> Table:
    table = _titled(section, "figure")
    table.add_column("median", justify="right")
    table.add_column("range", justify="right")
    table.add_column("unit")
    table.add_column("target")
    for line in lines:
        table.add_row(*map(escape, line))
    return table


def _titled(section: str, *columns: str) -> Table:
    table = Table(*columns, title=section, title_justify="left", title_style="bold")
    table.columns[0].overflow = "fold"
    return table


def _line(item: Measured) -> tuple[str, str, str, str, str]:
    name = f"{item.name}: {item.program}" if item.program else item.name
    return name, number(item.median), spread(item), item.unit, verdict(item)


def _gap(item: LeftOut) -> tuple[str, str, str, str, str]:
    return item.name, "failed" if item.fault else "left out", "", "", item.reason
