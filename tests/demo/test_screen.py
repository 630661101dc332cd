"""What is shown while it happens."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from chancel.demo import screen
from chancel.demo.timeline import Change, Echo, Flow, Mood, State, Timeline

STATUS = {
    "tunnel": "10.77.0.1/30",
    "device": "demo",
    "mtu": 1422,
    "peer": "192.168.201.2:2333",
    "tx": {"age_s": 4.2},
    "post_quantum": "hybrid ML-KEM-1024 + X25519",
}


def busy() -> Timeline:
    timeline = Timeline(start=time.monotonic() - 10)
    timeline.note("two devices started", at_s=0.0)
    timeline.note("tunnel up", Mood.GOOD, 2.0)
    timeline.echoes += [Echo(9.0, 0.002), Echo(9.1, None), Echo(9.2, 0.004)]
    timeline.lanes = {"east": [], "left": [Change(2.0, State.RELAYED)]}
    timeline.flows += [Flow(0.0, 10.0, 125_000_000)]
    return timeline


def test_bars_rise_with_the_values() -> None:
    assert screen.sparkline([0.0, 1.0, None, 2.0]).plain == "▁▅!█"
    assert screen.sparkline([]).plain == ""
    assert screen.sparkline([0.0]).plain == "▁"


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.shown(busy(), lambda: None):
        time.sleep(0.2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["   0.0 s  two devices started", "   2.0 s  tunnel up"]
    assert re.fullmatch(r" +10\.\d s    ping 4\.0 ms, bulk 100 Mbit/s", lines[2])


def test_a_terminal_shows_the_present() -> None:
    view = screen.View(busy())
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view.render())
    assert "starting" in console.export_text()
    view.status = STATUS
    console.print(view.render())
    text = console.export_text()
    for words in (
        "10.77.0.1/30 on demo, MTU 1422",
        "hybrid ML-KEM-1024 + X25519, 4 s old",
        "100 Mbit/s",
        "4.0 ms",
        "tunnel up",
        "not running",
        "relayed by a cathedral",
    ):
        assert words in text
