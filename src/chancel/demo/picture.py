"""The timeline as an SVG that reads on light and dark pages; no library, no script.

Lanes and two panels share the time axis. A lane is an actor: its colour says what it does, a mark
that its keys are new. The panels are throughput (an area, linear) and round-trip time (dots,
logarithmic; a lost ping is a tick at the top). Events are lines through all, labelled above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from chancel.demo.timeline import Echo, Flow, Keys, Rekey, State, Timeline

TITLE = "Two devices behind NATs, two cathedrals: found, direct, alone, and with new keys"

WIDTH, LEFT, RIGHT = 960.0, 84.0, 28.0
TITLE_Y, LABELS_Y, LABEL_ROW, CHARACTER = 34.0, 68.0, 19.0, 6.8
PANEL, HEADING, GAP, BOTTOM = 150.0, 20.0, 46.0, 46.0
LANE, LANE_STEP, LANES_GAP = 16.0, 26.0, 54.0
MARK = 5.0
TICKS = 5
FASTEST_S, SLOWEST_S = 1e-4, 1.0
"""The range of the round-trip axis; what lies outside is drawn at its border."""

_LIGHT = {
    "page": "#fcfcfa",
    "ink": "#22272e",
    "note": "#66707c",
    "grid": "#e2e5e8",
    "flow": "#2f6fb3",
    "ping": "#7a4fa3",
    "good": "#25784a",
    "bad": "#c0392b",
    "alive": "#9aa5b1",
    "relayed": "#d9912b",
    "direct": "#3d9a67",
}
_DARK = {
    "page": "#16191d",
    "ink": "#e4e7ea",
    "note": "#98a2ad",
    "grid": "#2c3238",
    "flow": "#6fa8e0",
    "ping": "#b795dd",
    "good": "#6cc08b",
    "bad": "#f0776a",
    "alive": "#5c6670",
    "relayed": "#b97a20",
    "direct": "#2f8a59",
}

_LANES = {State.ALIVE: "alive", State.RELAYED: "relayed", State.DIRECT: "direct"}
"""Colours; who isn't running has none."""


def draw(timeline: Timeline) -> str:
    """The whole picture, as the text of an SVG file."""
    labels = list(_label_rows(timeline))
    rows = max((row for *_, row in labels), default=0) + 1
    lanes_top = LABELS_Y + LABEL_ROW * rows + HEADING
    top = lanes_top + LANE_STEP * len(timeline.lanes) + LANES_GAP
    flow_panel = _Panel(top, max((flow.mbit_s for flow in timeline.flows), default=1.0))
    ping_panel = _Panel(top + PANEL + GAP, 0.0)
    height = ping_panel.top + PANEL + BOTTOM
    time = _Time(timeline)
    body = [
        _text(LEFT, TITLE_Y, "ink title", TITLE),
        *_rate_grid(flow_panel),
        *_rtt_grid(ping_panel),
        *_seconds(time, top, ping_panel.top + PANEL),
        *_lanes(timeline, time, lanes_top),
        *_area(timeline.flows, time, flow_panel),
        *_dots(timeline.echoes, time, ping_panel),
    ]
    for x, _, mood, row in labels:
        y = LABELS_Y + LABEL_ROW * row
        body.append(_line(x, y - 10, x, ping_panel.top + PANEL, f"mark {mood}-line"))
    for x, label, mood, row in labels:
        at, anchor = (x - 5, "end") if _width(label) > WIDTH - x else (x + 5, "start")
        body.append(_text(at, LABELS_Y + LABEL_ROW * row, f"{mood} halo", label, anchor))
    body.append(_heading(flow_panel, "bulk data through the tunnel, Mbit/s"))
    body.append(_heading(ping_panel, "round-trip time of ping through the tunnel"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}"'
        f' width="{WIDTH:.0f}" height="{height:.0f}" role="img">\n'
        f"<title>{escape(TITLE)}</title>\n"
        f"<style>{_style()}</style>\n"
        f'<rect class="page" width="{WIDTH:.0f}" height="{height:.0f}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class _Panel:
    top: float
    greatest: float
    """What the top of a linear axis has to reach."""

    @property
    def step(self) -> float:
        """Between grid lines: 1, 2 or 5 times a power of ten."""
        rough = max(self.greatest, 1e-6) / (TICKS - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)

    def y(self, share: float) -> float:
        """Where a share (0 to 1) of the axis is."""
        return self.top + PANEL * (1 - min(max(share, 0.0), 1.0))

    def rate_y(self, mbit_s: float) -> float:
        """On the linear axis."""
        return self.y(mbit_s / (self.step * math.ceil(self.greatest / self.step)))

    def rtt_y(self, seconds: float) -> float:
        """On the logarithmic axis."""
        whole = math.log10(SLOWEST_S / FASTEST_S)
        return self.y(math.log10(max(seconds, FASTEST_S) / FASTEST_S) / whole)


class _Time:
    """The shared axis."""

    def __init__(self, timeline: Timeline) -> None:
        self.end_s = timeline.end_s or 1.0

    def x(self, at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(at_s / self.end_s, 1.0)


def _label_rows(timeline: Timeline) -> Iterator[tuple[float, str, str, int]]:
    """x, label, mood and row of each event, no two labels of a row touching."""
    time = _Time(timeline)
    row_ends: list[float] = []
    for event in timeline.events:
        label = f"{event.label} {event.at_s:.1f} s"
        x = time.x(event.at_s)
        left = x - _width(label) if _width(label) > WIDTH - x else x
        row = next((i for i, end in enumerate(row_ends) if left > end), len(row_ends))
        row_ends[row : row + 1] = [left + _width(label)]
        yield x, label, event.mood.value, row


def _width(label: str) -> float:
    return CHARACTER * len(label) + 14


def _heading(panel: _Panel, words: str) -> str:
    return _text(LEFT + 8, panel.top - 10, "note halo", words)


def _rate_grid(panel: _Panel) -> Iterator[str]:
    for index in range(math.ceil(panel.greatest / panel.step) + 1):
        rate = index * panel.step
        yield from _grid_line(panel.rate_y(rate), f"{rate:g}")


def _rtt_grid(panel: _Panel) -> Iterator[str]:
    for seconds, label in ((1e-4, "0.1 ms"), (1e-3, "1 ms"), (1e-2, "10 ms"), (0.1, "100 ms")):
        yield from _grid_line(panel.rtt_y(seconds), label)
    yield from _grid_line(panel.top, "lost")


def _grid_line(y: float, label: str) -> Iterator[str]:
    yield _line(LEFT, y, WIDTH - RIGHT, y, "grid")
    yield _text(LEFT - 8, y + 4, "note small", label, anchor="end")


def _seconds(time: _Time, top: float, bottom: float) -> Iterator[str]:
    step = next(step for step in (1, 5, 10, 60) if time.end_s <= 15 * step or step == 60)
    for second in range(0, int(time.end_s) + 1, step):
        yield _line(time.x(second), bottom, time.x(second), bottom + 5, "grid")
        yield _text(time.x(second), bottom + 20, "note small", f"{second} s", anchor="middle")
    yield _line(LEFT, top, LEFT, top + PANEL, "grid")


def _lanes(timeline: Timeline, time: _Time, top: float) -> Iterator[str]:
    for row, (actor, changes) in enumerate(timeline.lanes.items()):
        y = top + LANE_STEP * row
        yield _text(LEFT - 8, y + LANE - 4, "ink small", actor, anchor="end")
        ends = [change.at_s for change in changes[1:]] + [time.end_s]
        for change, end in zip(changes, ends, strict=False):  # one more, if there are none
            kind = _LANES.get(change.state)
            x, width = time.x(change.at_s), time.x(end) - time.x(change.at_s)
            if kind is not None:
                yield (
                    f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
                    f' height="{LANE:.0f}" rx="3"/>'
                )
        marks = (rekey for rekey in timeline.rekeys if rekey.actor == actor)
        yield from (_mark(rekey, time.x(rekey.at_s), y + LANE / 2) for rekey in marks)
    if timeline.lanes:
        yield from _legend(top + LANE_STEP * len(timeline.lanes) + LANE / 2)


def _mark(rekey: Rekey, x: float, y: float) -> str:
    """New keys: a dot; a new secret: a diamond."""
    if rekey.kind is Keys.EXCHANGE:
        return f'<circle class="keys" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    points = ((x, y - MARK), (x + MARK, y), (x, y + MARK), (x - MARK, y))
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f'<polygon class="keys" points="{path}"/>'


def _legend(y: float) -> Iterator[str]:
    x = LEFT + 8
    for state, kind in _LANES.items():
        yield f'<rect class="{kind}" x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2"/>'
        yield _text(x + 15, y, "note small halo", state.value)
        x += _width(state.value) + 22
    for keys in Keys:
        yield _mark(Rekey(0.0, "", keys), x + MARK, y - 4)
        yield _text(x + 15, y, "note small halo", keys.value)
        x += _width(keys.value) + 22


def _area(flows: Iterable[Flow], time: _Time, panel: _Panel) -> Iterator[str]:
    floor = panel.rate_y(0.0)
    points = []
    for flow in flows:
        y = panel.rate_y(flow.mbit_s)
        points += [(time.x(flow.from_s), y), (time.x(flow.to_s), y)]
    if points:
        outline = [(points[0][0], floor), *points, (points[-1][0], floor)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
        yield f'<polygon class="flow" points="{path}"/>'


def _dots(echoes: Iterable[Echo], time: _Time, panel: _Panel) -> Iterator[str]:
    for echo in echoes:
        x = time.x(echo.at_s)
        if echo.rtt_s is None:
            yield _line(x, panel.top - 4, x, panel.top + 6, "bad-line")
        else:
            yield f'<circle class="ping" cx="{x:.1f}" cy="{panel.rtt_y(echo.rtt_s):.1f}" r="2"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, kind: str, words: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'


def _style() -> str:
    return (
        "text { font: 13px system-ui, 'DejaVu Sans', sans-serif; }"
        " .title { font-size: 18px; font-weight: 600; } .small { font-size: 12px; }"
        " .flow { fill-opacity: .25; stroke-width: 1.5; } .mark { stroke-dasharray: 4 3; }"
        + _colours(_LIGHT)
        + " @media (prefers-color-scheme: dark) {"
        + _colours(_DARK)
        + " }"
    )


def _colours(palette: dict[str, str]) -> str:
    rules = [f" .{name} {{ fill: {colour}; }}" for name, colour in palette.items()]
    rules += [
        f" .{name}-line {{ stroke: {palette[name]}; stroke-width: 1.5; }}"
        for name in ("note", "good", "bad")
    ]
    rules.append(f" .halo {{ stroke: {palette['page']}; stroke-width: 5; paint-order: stroke; }}")
    rules.append(f" .keys {{ fill: {palette['page']}; stroke: {palette['ink']}; }}")
    rules.append(f" .grid {{ stroke: {palette['grid']}; }} .flow {{ stroke: {palette['flow']}; }}")
    return "".join(rules)
