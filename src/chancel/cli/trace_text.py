"""A sequence diagram in characters, row by row as it happens."""

from __future__ import annotations

from rich.text import Text

from chancel.cli.trace_rows import NETWORK, PARTICIPANTS, Mood, Row

COLUMN = 11
_STYLE = {
    Mood.TRAFFIC: "blue",
    Mood.OFFER: "magenta",
    Mood.STATE: "green",
    Mood.BAD: "bold red",
}


def columns(ends: int) -> list[tuple[int, str]]:
    """End and name of each lifeline; the network is shared by two ends that face each other."""
    left = [(0, name) for name in PARTICIPANTS]
    if ends == 1:
        return left
    return left + [(1, name) for name in reversed(PARTICIPANTS) if name != NETWORK]


def place(lifelines: list[tuple[int, str]], end: int, name: str) -> int:
    """The column of a participant."""
    return lifelines.index((0, name) if name == NETWORK else (end, name))


def heading(ends: int) -> Text:
    """The names above the lifelines."""
    names = "".join(name.center(COLUMN) for _, name in columns(ends))
    return Text(f"{'seconds':>9} {names}", "bold")


def draw(row: Row, ends: int, start: float) -> Text:
    """One row; times count from ``start``."""
    lifelines = columns(ends)
    cells = list(("│".center(COLUMN)) * len(lifelines))
    source = place(lifelines, row.end, row.source)
    if row.target is None:
        cells[_middle(source)] = "●"
    else:
        _arrow(cells, _middle(source), _middle(place(lifelines, row.end, row.target)))
    text = Text(f"{row.at - start:9.3f} ", "dim")
    text.append("".join(cells), _STYLE[row.mood])
    return text.append(f" {row.label}")


def _middle(column: int) -> int:
    return column * COLUMN + "│".center(COLUMN).index("│")


def _arrow(cells: list[str], start: int, stop: int) -> None:
    first, last = sorted((start, stop))
    cells[first : last + 1] = "─" * (last - first + 1)
    cells[start] = "├" if stop > start else "┤"
    cells[stop] = "▶" if stop > start else "◀"
