"""A sequence diagram as an SVG that reads on light and dark pages; no library, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from chancel.cli.trace_rows import Mood, Row
from chancel.cli.trace_text import columns, place

MAX_ROWS = 300
"""What is later is left out, and the picture says so."""

_COLUMN, _LEFT, _LABELS = 96.0, 110.0, 330.0
_TOP, _ROW, _BOTTOM = 76.0, 20.0, 24.0

_LIGHT = {
    "page": "#fcfcfa",
    "ink": "#22272e",
    "note": "#66707c",
    "grid": "#d5dade",
    Mood.TRAFFIC.value: "#2f6fb3",
    Mood.OFFER.value: "#7a4fa3",
    Mood.STATE.value: "#25784a",
    Mood.BAD.value: "#c0392b",
}
_DARK = {
    "page": "#16191d",
    "ink": "#e4e7ea",
    "note": "#98a2ad",
    "grid": "#3a4148",
    Mood.TRAFFIC.value: "#6fa8e0",
    Mood.OFFER.value: "#b795dd",
    Mood.STATE.value: "#6cc08b",
    Mood.BAD.value: "#f0776a",
}


def draw(rows: Sequence[Row], ends: int, title: str) -> str:
    """The whole picture, as the text of an SVG file."""
    shown, left_out = rows[:MAX_ROWS], len(rows) - MAX_ROWS
    lifelines = columns(ends)
    width = _LEFT + _COLUMN * len(lifelines) + _LABELS
    bottom = _TOP + _ROW * (len(shown) + 1)
    start = shown[0].at if shown else 0.0
    body = [_text(24, 34, "ink title", title)]
    for number, (_, name) in enumerate(lifelines):
        body.append(_line(_x(number), _TOP - 8, _x(number), bottom, "grid"))
        body.append(_text(_x(number), _TOP - 14, "ink", name, "middle"))
    for number, row in enumerate(shown):
        body += _row(row, _TOP + _ROW * (number + 1), lifelines, start, len(lifelines))
    if left_out > 0:
        body.append(_text(24, bottom + 14, "note", f"{left_out} more rows are left out"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + _BOTTOM:.0f}"'
        f' width="{width:.0f}" height="{bottom + _BOTTOM:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style>\n"
        f'<rect class="page" width="{width:.0f}" height="{bottom + _BOTTOM:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _x(column: int) -> float:
    return _LEFT + _COLUMN * (column + 0.5)


def _row(
    row: Row, y: float, lifelines: list[tuple[int, str]], start: float, count: int
) -> Iterator[str]:
    mood = row.mood.value
    yield _text(_LEFT - 10, y + 4, "note small", f"{row.at - start:.3f} s", "end")
    source = _x(place(lifelines, row.end, row.source))
    if row.target is None:
        yield f'<circle class="{mood}" cx="{source:.1f}" cy="{y:.1f}" r="4.5"/>'
    else:
        target = _x(place(lifelines, row.end, row.target))
        back = -7 if target > source else 7
        yield _line(source, y, target + back, y, mood)
        points = (
            f"{target:.1f},{y:.1f} {target + back:.1f},{y - 4:.1f} {target + back:.1f},{y + 4:.1f}"
        )
        yield f'<polygon class="{mood}" points="{points}"/>'
    yield _text(_LEFT + _COLUMN * count + 10, y + 4, f"{mood} small", row.label)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}-line" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, kind: str, words: str, anchor: str = "start") -> str:
    place_ = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place_}>{escape(words)}</text>'


def _style() -> str:
    return (
        "text { font: 13px system-ui, 'DejaVu Sans', sans-serif; }"
        " .title { font-size: 18px; font-weight: 600; } .small { font-size: 12px; }"
        + _colours(_LIGHT)
        + " @media (prefers-color-scheme: dark) {"
        + _colours(_DARK)
        + " }"
    )


def _colours(palette: dict[str, str]) -> str:
    rules = [f" .{name} {{ fill: {colour}; }}" for name, colour in palette.items()]
    rules += [f" .{name}-line {{ stroke: {colour}; }}" for name, colour in palette.items()]
    return "".join(rules)
