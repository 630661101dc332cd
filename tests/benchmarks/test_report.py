"""The benchmark's own words: medians, targets, and nothing left out in silence."""

from __future__ import annotations

import json

from rich.console import Console

from benchmarks.__main__ import as_json, as_table
from benchmarks.result import Figure, LeftOut, Result, Target

RESULTS: dict[str, list[Result]] = {
    "tcp": [
        Figure("TCP, ratio to the C daemon", "times", [2.5, 1.0, 3.0], Target("≥", 2)),
        Figure("exchange", "ms CPU", [1.5], Target("≤", 1.0)),
        LeftOut("wireguard-go", "not installed"),
    ]
}


def test_a_figure_is_its_median_and_is_held_against_its_target() -> None:
    ratio, exchange, _ = RESULTS["tcp"]
    assert isinstance(ratio, Figure)
    assert isinstance(exchange, Figure)
    assert (ratio.median, ratio.met) == (2.5, True)
    assert exchange.met is False
    assert Figure("RTT", "ms", [1.0]).met is None


def test_the_table_shows_ranges_misses_and_what_was_left_out() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(as_table(RESULTS))
    shown = captured.get()
    assert "1 … 3" in shown
    assert "≤ 1 ✗ missed" in shown
    assert "not installed" in shown


def test_json_has_every_sample() -> None:
    section = json.loads(as_json(RESULTS))["sections"]["tcp"]
    assert section[0]["samples"] == [2.5, 1.0, 3.0]
    assert section[2] == {"name": "wireguard-go", "left_out": "not installed"}
