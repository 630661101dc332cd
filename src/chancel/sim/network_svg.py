"""A simulated network as an SVG that reads on light and dark pages; no library, no script.

Above, the tunnels over time, with what befell them; below, how soon tunnels came up and went
direct, as the share of all that had by then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from chancel.sim.network_report import NetworkReport, relayed

WIDTH, LEFT, RIGHT = 860.0, 70.0, 130.0
TOP, HEIGHT, GAP, BOTTOM = 84.0, 210.0, 64.0, 44.0
LEGROOM = 1.08
SOONEST_S, LATEST_S = 0.1, 300.0

_LIGHT = {
    "page": "#fcfcfa",
    "ink": "#22272e",
    "note": "#66707c",
    "grid": "#e2e5e8",
    "possible": "#8a94a0",
    "up": "#2f6fb3",
    "direct": "#1f7a4d",
    "fault": "#b5651d",
}
_DARK = {
    "page": "#16191d",
    "ink": "#e4e7ea",
    "note": "#98a2ad",
    "grid": "#2c3238",
    "possible": "#78828d",
    "up": "#6fa8e0",
    "direct": "#5cc48f",
    "fault": "#dc9550",
}
_LINES = ("possible", "up", "direct")

Point = tuple[float, float]


def draw(report: NetworkReport) -> str:
    """The text of an SVG file."""
    scenario = report.scenario
    title = f"{scenario.devices:,} devices, {scenario.cathedrals} cathedrals, {scenario.hours:g} h"
    height = TOP + 2 * HEIGHT + GAP + BOTTOM
    body = [
        _text((16, 30), "title", title),
        _text((16, 50), "note", _summary(report)),
        *_over_time(report, TOP),
        *_soon(report, TOP + HEIGHT + GAP),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}"'
        f' width="{WIDTH:.0f}" height="{height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style>\n"
        f'<rect class="page" width="{WIDTH:.0f}" height="{height:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _summary(report: NetworkReport) -> str:
    last = report.samples()[-1]
    return f"at the end {last.up:,} of {last.possible:,} tunnels up, {relayed(last):.0%} relayed"


def _over_time(report: NetworkReport, top: float) -> Iterator[str]:
    samples, seconds = report.samples(), report.scenario.hours * 3600.0
    most = max(sample.possible for sample in samples) or 1
    unit, name = (60.0, "min") if seconds <= 2 * 3600 else (3600.0, "h")

    def place(at_s: float, count: float) -> Point:
        x = LEFT + (WIDTH - LEFT - RIGHT) * at_s / seconds
        return x, top + HEIGHT - HEIGHT * count / (most * LEGROOM)

    yield from _frame(top, f"tunnels, over {seconds / unit:g} {name}")
    for part in (0.5, 1.0):
        x, y = place(0.0, most * part)
        yield _line((x, y), (WIDTH - RIGHT, y), "grid")
        yield _text((LEFT - 8, y + 4), "note", f"{most * part:,.0f}", "end")
    for fault in sorted({(each.at_s, each.what) for each in report.recoveries}):
        x, _ = place(fault[0], 0)
        yield _line((x, top), (x, top + HEIGHT), "fault")
        yield _text((x + 4, top + 12), "fault-name", fault[1])
    curves = {name: [place(each.at_s, getattr(each, name)) for each in samples] for name in _LINES}
    yield from _curves(curves)


def _soon(report: NetworkReport, top: float) -> Iterator[str]:
    span = math.log(LATEST_S / SOONEST_S)

    def place(at_s: float, share: float) -> Point:
        along = math.log(min(max(at_s, SOONEST_S), LATEST_S) / SOONEST_S) / span
        return LEFT + (WIDTH - LEFT - RIGHT) * along, top + HEIGHT - HEIGHT * share / LEGROOM

    yield from _frame(top, "share of tunnels, by seconds after both ends could")
    for part in (0.5, 1.0):
        x, y = place(SOONEST_S, part)
        yield _line((x, y), (WIDTH - RIGHT, y), "grid")
        yield _text((LEFT - 8, y + 4), "note", f"{part:.0%}", "end")
    for at_s in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0):
        x, y = place(at_s, 0.0)
        yield _line((x, y), (x, y + 4), "axis")
        yield _text((x, y + 18), "note", f"{at_s:g}", "middle")
    shares = {"up": report.up_s, "direct": report.direct_s}
    yield from _curves({name: _steps(times, place) for name, times in shares.items() if times})


def _steps(times: Sequence[float], place: Callable[[float, float], Point]) -> list[Point]:

    ordered = sorted(times)
    points = [place(ordered[0], 0.0)]
    for rank, at_s in enumerate(ordered, 1):
        x, y = place(at_s, rank / len(ordered))
        points += [(x, points[-1][1]), (x, y)]
    return [*points, (WIDTH - RIGHT, points[-1][1])]


def _curves(curves: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    labels: list[float] = []
    for name, points in curves.items():
        path = " L ".join(f"{x:.1f} {y:.1f}" for x, y in points)
        yield f'<path class="{name}" d="M {path}"/>'
        y = points[-1][1] + 4
        while any(abs(y - other) < 14 for other in labels):
            y += 1
        labels.append(y)
        yield _text((WIDTH - RIGHT + 8, y), f"{name}-name", name)


def _frame(top: float, heading: str) -> Iterator[str]:
    yield _text((LEFT, top - 8), "heading", heading)
    yield _line((LEFT, top), (LEFT, top + HEIGHT), "axis")
    yield _line((LEFT, top + HEIGHT), (WIDTH - RIGHT, top + HEIGHT), "axis")


def _line(start: Point, end: Point, kind: str) -> str:
    return f'<path class="{kind}" d="M {start[0]:.1f} {start[1]:.1f} L {end[0]:.1f} {end[1]:.1f}"/>'


def _text(at: Point, kind: str, words: str, anchor: str = "start") -> str:
    place = f'x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'


def _style() -> str:
    return (
        "text { font: 12px system-ui, 'DejaVu Sans', sans-serif; }"
        " .title { font-size: 17px; font-weight: 600; } .heading { font-weight: 600; }"
        " path { fill: none; stroke-width: 1.8; } .grid, .axis { stroke-width: 1; }"
        " .fault { stroke-width: 1; stroke-dasharray: 3 4; }"
        + _colours(_LIGHT)
        + " @media (prefers-color-scheme: dark) {"
        + _colours(_DARK)
        + " }"
    )


def _colours(palette: Mapping[str, str]) -> str:
    rules = [
        f" .page {{ fill: {palette['page']}; }} .title, .heading {{ fill: {palette['ink']}; }}"
        f" .note {{ fill: {palette['note']}; }} .grid {{ stroke: {palette['grid']}; }}"
        f" .axis {{ stroke: {palette['note']}; }}"
    ]
    for name in (*_LINES, "fault"):
        rules.append(f" path.{name} {{ stroke: {palette[name]}; }}")
        rules.append(f" .{name}-name {{ fill: {palette[name]}; }}")
    return "".join(rules)
