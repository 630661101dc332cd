"""Bars as SVG that read on light and dark pages; no library, no script.

A plot has panels, one for each measure, with a bar for each program: its length is the median, the
line over it the range of the rounds. Every axis begins at 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.layout import number
from benchmarks.result import Measured

WIDTH, LEFT, RIGHT = 860.0, 190.0, 80.0
TITLE_Y, TOP = 30.0, 48.0
HEADING, BAR, STEP, GAP = 22.0, 13.0, 19.0, 16.0
LEGROOM = 1.1
"""How much longer than the longest median the axis is; ranges beyond it are cut."""

_LIGHT = {"page": "#fcfcfa", "ink": "#22272e", "note": "#66707c", "grid": "#e2e5e8"}
_DARK = {"page": "#16191d", "ink": "#e4e7ea", "note": "#98a2ad", "grid": "#2c3238"}
_OURS_LIGHT = ("#1f7a4d", "#4aa97a", "#9bd0b4")
_OURS_DARK = ("#5cc48f", "#3c8f66", "#2b5f47")
_PEERS_LIGHT = ("#b5651d", "#2f6fb3", "#8a94a0")
_PEERS_DARK = ("#dc9550", "#6fa8e0", "#78828d")

Panel = tuple[str, Mapping[str, Measured]]
"""A heading, and each program's figure."""


def draw(title: str, panels: Sequence[Panel], ours: Sequence[str]) -> str:
    """The text of an SVG file; ``ours`` are the programs whose bars are ours."""
    colours = _classes(panels, ours)
    body, y = [_text(16, TITLE_Y, "title", title)], TOP
    for heading, figures in panels:
        body += _panel(y, heading, figures, colours)
        y += HEADING + STEP * len(figures) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {y:.0f}"'
        f' width="{WIDTH:.0f}" height="{y:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style>\n"
        f'<rect class="page" width="{WIDTH:.0f}" height="{y:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _classes(panels: Sequence[Panel], ours: Sequence[str]) -> dict[str, str]:
    """The class of each program's bars, the same in all panels."""
    programs = dict.fromkeys(name for _, figures in panels for name in figures)
    mine = [name for name in programs if name in ours]
    others = [name for name in programs if name not in ours]
    return {
        name: f"{kind}{min(place, len(_OURS_LIGHT) - 1)}"
        for kind, names in (("ours", mine), ("peer", others))
        for place, name in enumerate(names)
    }


def _panel(
    top: float, heading: str, figures: Mapping[str, Measured], colours: Mapping[str, str]
) -> Iterator[str]:
    bottom = top + HEADING + STEP * len(figures)
    unit = next(iter(figures.values())).unit
    yield _text(LEFT, top + 14, "heading", f"{heading}, {unit}")
    longest = max(item.median for item in figures.values()) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / (longest * LEGROOM)
    yield f'<line class="grid" x1="{LEFT}" y1="{top + HEADING:.1f}" x2="{LEFT}" y2="{bottom:.1f}"/>'
    for place, (program, item) in enumerate(figures.items()):
        y = top + HEADING + STEP * place
        yield _text(LEFT - 8, y + 11, "program", program, "end")
        yield (
            f'<rect class="{colours[program]}" x="{LEFT}" y="{y:.1f}"'
            f' width="{max(1.0, item.median * scale):.1f}" height="{BAR:.0f}" rx="2"/>'
        )
        low, high = (min(end * scale, WIDTH - LEFT - RIGHT) for end in item.spread)
        middle = y + BAR / 2
        yield (
            f'<line class="range" x1="{LEFT + low:.1f}" y1="{middle:.1f}"'
            f' x2="{LEFT + high:.1f}" y2="{middle:.1f}"/>'
        )
        yield _text(WIDTH - RIGHT + 10, y + 11, "value", number(item.median))


def _text(x: float, y: float, kind: str, words: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'


def _style() -> str:
    return (
        "text { font: 12px system-ui, 'DejaVu Sans', sans-serif; }"
        " .title { font-size: 17px; font-weight: 600; } .heading { font-weight: 600; }"
        " .range { stroke-width: 1.5; }"
        + _colours(_LIGHT, _OURS_LIGHT, _PEERS_LIGHT)
        + " @media (prefers-color-scheme: dark) {"
        + _colours(_DARK, _OURS_DARK, _PEERS_DARK)
        + " }"
    )


def _colours(base: Mapping[str, str], ours: Sequence[str], peers: Sequence[str]) -> str:
    rules = [
        f" .page {{ fill: {base['page']}; }} .title, .heading, .value {{ fill: {base['ink']}; }}"
        f" .program {{ fill: {base['note']}; }} .grid {{ stroke: {base['grid']}; }}"
        f" .range {{ stroke: {base['ink']}; }}"
    ]
    for kind, palette in (("ours", ours), ("peer", peers)):
        rules += [f" .{kind}{place} {{ fill: {each}; }}" for place, each in enumerate(palette)]
    return "".join(rules)
