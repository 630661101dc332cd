"""The map of a network as an SVG that reads on light and dark pages: machines on a ring, cathedrals
within it; a relayed tunnel bends through the one that relays it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from chancel.cli import status_words as words
from chancel.cli.map_network import Line, Network, Way

_RADIUS_LEAST, _PER_NODE = 150.0, 26.0
_MARGIN_X, _MARGIN_Y = 150.0, 80.0
_NODE, _CATHEDRAL = 9.0, 11.0
_BEND = 110.0

_LIGHT = {
    "page": "#fcfcfa",
    "ink": "#22272e",
    "note": "#66707c",
    "known": "#2f6fb3",
    "peer": "#98a2ad",
    "cathedral": "#7a4fa3",
    "direct": "#25784a",
    "relay": "#b3791f",
    "none": "#c0392b",
}
_DARK = {
    "page": "#16191d",
    "ink": "#e4e7ea",
    "note": "#98a2ad",
    "known": "#6fa8e0",
    "peer": "#66707c",
    "cathedral": "#b795dd",
    "direct": "#6cc08b",
    "relay": "#e0b060",
    "none": "#f0776a",
}
_LEGEND = (("direct", "peer to peer"), ("relay", "relayed, unreadable"), ("none", "not up"))

Point = tuple[float, float]


def draw(network: Network, title: str) -> str:
    """The whole picture, as the text of an SVG file."""
    outer = [*network.machines, *network.peers]
    radius = max(_RADIUS_LEAST, _PER_NODE * len(outer))
    width, height = 2 * (radius + _MARGIN_X), 2 * (radius + _MARGIN_Y) + 30
    centre = (width / 2, height / 2 + 10)
    places = dict(zip(outer, _ring(centre, radius, len(outer)), strict=True))
    inner = radius * (0.0 if len(network.cathedrals) == 1 else 0.4)
    halls = _ring(centre, inner, len(network.cathedrals))
    places |= dict(zip(network.cathedrals, halls, strict=True))
    body = [
        _text((24, 34), "ink title", title),
        *(part for line in network.lines for part in _drawn(line, places, centre)),
        *(part for name in network.cathedrals for part in _hall(name, places[name])),
        *(part for name in outer for part in _node(name, places[name], centre, network)),
        *_legend(height),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style>\n"
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _ring(centre: Point, radius: float, count: int) -> list[Point]:
    """Places on a circle, the first on the left."""
    turns = [math.pi + 2 * math.pi * n / max(count, 1) for n in range(count)]
    return [(centre[0] + radius * math.cos(t), centre[1] + radius * math.sin(t)) for t in turns]


def _drawn(line: Line, places: dict[str, Point], centre: Point) -> Iterator[str]:
    left, right = places[line.left], places[line.right]
    if line.way is Way.RELAY:
        bend = places.get(line.via or "", centre)
        path = f"L {bend[0]:.1f} {bend[1]:.1f} L {right[0]:.1f} {right[1]:.1f}"
        label = _between(left, bend, 0.3)
    else:
        bend = _past(left, right, centre)
        path = f"Q {bend[0]:.1f} {bend[1]:.1f} {right[0]:.1f} {right[1]:.1f}"
        label = _between(_between(left, right, 0.5), bend, 0.5)
    yield f'<path class="{line.way}-line" d="M {left[0]:.1f} {left[1]:.1f} {path}"/>'
    if line.way is not Way.NONE:
        rate = words.scaled(line.sent_bps + line.received_bps, "bit/s")
        yield _text((label[0], label[1] - 7), f"{line.way} small", rate, "middle")


def _between(one: Point, other: Point, part: float) -> Point:
    return one[0] + (other[0] - one[0]) * part, one[1] + (other[1] - one[1]) * part


def _past(left: Point, right: Point, centre: Point) -> Point:
    """Where a line bends that leads past the centre, where cathedrals stand, on its own side."""
    middle = _between(left, right, 0.5)
    across = (left[1] - right[1], right[0] - left[0])
    length = math.hypot(*across) or 1.0
    side = (middle[0] - centre[0]) * across[0] + (middle[1] - centre[1]) * across[1]
    bend = math.copysign(_BEND, side) / length
    return middle[0] + across[0] * bend, middle[1] + across[1] * bend


def _hall(name: str, at: Point) -> Iterator[str]:
    x, y = at[0] - _CATHEDRAL, at[1] - _CATHEDRAL
    side = 2 * _CATHEDRAL
    yield f'<rect class="cathedral" x="{x:.1f}" y="{y:.1f}" width="{side}" height="{side}" rx="3"/>'
    yield _text((at[0], at[1] + _CATHEDRAL + 16), "ink small", name, "middle")


def _node(name: str, at: Point, centre: Point, network: Network) -> Iterator[str]:
    kind = "known" if name in network.machines else "peer"
    yield f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{_NODE}"/>'
    aside = at[0] - centre[0]
    if abs(aside) < 20:
        below = 26 if at[1] > centre[1] else -18
        yield _text((at[0], at[1] + below), "ink", name, "middle")
    else:
        x = at[0] + math.copysign(_NODE + 7, aside)
        yield _text((x, at[1] + 4), "ink", name, "start" if aside > 0 else "end")


def _legend(height: float) -> Iterator[str]:
    x = 24.0
    for kind, said in _LEGEND:
        yield f'<path class="{kind}-line" d="M {x:.0f} {height - 24:.0f} h 26"/>'
        yield _text((x + 34, height - 20), "note small", said)
        x += 60 + 7 * len(said)


def _text(at: Point, kind: str, said: str, anchor: str = "start") -> str:
    place = f'x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(said)}</text>'


def _style() -> str:
    return (
        "text { font: 13px system-ui, 'DejaVu Sans', sans-serif; }"
        " .title { font-size: 18px; font-weight: 600; } .small { font-size: 12px; }"
        " text.small { paint-order: stroke; stroke-width: 4; }"
        " path { fill: none; stroke-width: 2; } .relay-line { stroke-dasharray: 6 4; }"
        " .none-line { stroke-dasharray: 2 5; }"
        + _colours(_LIGHT)
        + " @media (prefers-color-scheme: dark) {"
        + _colours(_DARK)
        + " }"
    )


def _colours(palette: dict[str, str]) -> str:
    names: Sequence[str] = tuple(palette)
    rules = [f" .{name} {{ fill: {palette[name]}; }}" for name in names]
    rules.append(f" text.small {{ stroke: {palette['page']}; }}")
    rules += [f" .{name}-line {{ stroke: {palette[name]}; }}" for name in names]
    return "".join(rules)
