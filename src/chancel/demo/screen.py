"""The demonstration while it happens: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chancel.demo.timeline import Event, Mood, State, Timeline

Status = dict[str, Any]

STATUS_INTERVAL_S = 0.5
FRAMES_PER_S = 8
LINE_INTERVAL_S = 2.0
BLOCKS = "▁▂▃▄▅▆▇█"
SPARKS = 60
STEP_S = 0.5
RECENT_ECHOES = 10

_LANE_STYLE = {
    State.DEAD: "bold red",
    State.ALIVE: "default",
    State.RELAYED: "yellow",
    State.DIRECT: "green",
}
_STYLE = {Mood.GOOD: "green", Mood.BAD: "bold red", Mood.NOTE: "default"}


@contextlib.contextmanager
def shown(timeline: Timeline, ask: Callable[[], Status | None]) -> Iterator[None]:
    """Show the timeline for the length of a block; ``ask`` gives a daemon's view of the tunnel."""
    over = threading.Event()
    if sys.stdout.isatty():
        view = View(timeline)
        worker = threading.Thread(target=view.poll, args=(ask, over))
        live = Live(console=Console(), get_renderable=view.render, refresh_per_second=FRAMES_PER_S)
        context: contextlib.AbstractContextManager[object] = live
    else:
        worker = threading.Thread(target=_print_lines, args=(timeline, over))
        context = contextlib.nullcontext()
    worker.start()
    try:
        with context:
            yield
    finally:
        over.set()
        worker.join()


def _print_lines(timeline: Timeline, over: threading.Event) -> None:
    told, next_line_at = 0, LINE_INTERVAL_S
    running = True
    while running:
        running = not over.wait(0.05)
        for event in timeline.events[told:]:
            print(f"{event.at_s:6.1f} s  {event.label}", flush=True)
            told += 1
        if timeline.now() >= next_line_at and told > 1:
            next_line_at = timeline.now() + LINE_INTERVAL_S
            print(f"{timeline.now():6.1f} s    {_present(timeline)}", flush=True)


def _present(timeline: Timeline) -> str:
    return f"ping {_rtt_words(timeline)}, bulk {_rate(timeline):.0f} Mbit/s"


def _rate(timeline: Timeline) -> float:
    """Of the last whole second or so; 0 when nothing arrived."""
    rates = timeline.rates(STEP_S, timeline.now())[-3:-1]
    return sum(rates) / len(rates) if rates else 0.0


def _rtt_words(timeline: Timeline) -> str:
    recent = timeline.echoes[-RECENT_ECHOES:]
    rtts = sorted(echo.rtt_s for echo in recent if echo.rtt_s is not None)
    return f"{rtts[len(rtts) // 2] * 1e3:.1f} ms" if rtts else "lost"


def sparkline(values: Sequence[float | None]) -> Text:
    """Bars from 0 to the greatest value; a red mark for None."""
    top = max((value for value in values if value is not None), default=0.0)
    line = Text()
    for value in values:
        if value is None:
            line.append("!", "red")
        else:
            height = int(value / top * (len(BLOCKS) - 1) + 0.5) if top else 0
            line.append(BLOCKS[height], "cyan")
    return line


class View:
    """What the terminal shows."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.status: Status | None = None
        """What the daemon said last."""

    def poll(self, ask: Callable[[], Status | None], over: threading.Event) -> None:
        """Keep the daemon's view fresh until it is over."""
        while not over.wait(STATUS_INTERVAL_S):
            self.status = ask()

    def render(self) -> RenderableType:
        """The present moment."""
        timeline = self._timeline
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True)
        for actor in timeline.lanes:
            state = timeline.state(actor)
            grid.add_row(actor, Text(state.value, _LANE_STYLE[state]))
        for label, text in self._tunnel():
            grid.add_row(label, text)
        echoes = [echo.rtt_s for echo in timeline.echoes[-SPARKS:]]
        grid.add_row("ping", Text(_rtt_words(timeline)))
        grid.add_row("", sparkline(echoes))
        rates = timeline.rates(STEP_S, timeline.now() - STEP_S)[-SPARKS:]
        grid.add_row("bulk", Text(f"{_rate(timeline):.0f} Mbit/s"))
        grid.add_row("", sparkline(rates))
        events = [_event_line(event) for event in timeline.events]
        title = f"left ⟷ right   {timeline.now():.0f} s"
        return Panel(Group(grid, Text(), *events), title=title, title_align="left", expand=False)

    def _tunnel(self) -> list[tuple[str, Text]]:
        status = self.status
        if status is None:
            return [("tunnel", Text("starting", "yellow"))]
        age = status["tx"]["age_s"]
        keys = "none yet" if age is None else f"{status['post_quantum']}, {age:.0f} s old"
        return [
            ("tunnel", Text(f"{status['tunnel']} on {status['device']}, MTU {status['mtu']}")),
            ("peer", Text(str(status["peer"]))),
            ("keys", Text(keys)),
        ]


def _event_line(event: Event) -> Text:
    return Text(f"{event.at_s:5.1f} s  {event.label}", _STYLE[event.mood])
