"""The benchmark's own words: medians, ratios, targets, and nothing left out in silence."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import saved
from benchmarks.__main__ import main, passed
from benchmarks.layout import compare, lay_out, number
from benchmarks.result import Figure, LeftOut, Ratio, Result, Step, Target
from benchmarks.saved import Run
from benchmarks.table import as_tables
from benchmarks.turns import Rounds, Turn, alternate
from benchmarks.workloads import Measure, percentile

RESULTS: dict[str, list[Result]] = {
    "tcp": [
        Figure("TCP", "Gbit/s", [2.5, 1.0, 3.0], program="ours"),
        Figure("TCP", "Gbit/s", [0.5], program="theirs"),
        Figure("memory", "MB", [60.0], program="ours", less=True),
        Figure("memory", "MB", [20.0], program="theirs", less=True),
        Ratio("TCP, against theirs", [2, 4, 3], [1, 1, 2], Target("≥", 2), Target("≥", 4), "ours"),
        Figure("exchange", "ms CPU", [1.5], Target("≤", 1.0)),
        LeftOut("wireguard-go", "not installed [Errno 2]"),
    ]
}
RUN = Run({"machine": "abacus"}, "make bench", True, RESULTS)


def test_a_figure_is_its_median_and_is_held_against_its_target() -> None:
    assert Figure("x", "ms", [2.5, 1.0, 3.0], Target("≥", 2)).met is True
    assert Figure("x", "ms", [1.5], Target("≤", 1.0)).met is False
    assert Figure("x", "ms", [1.0]).met is None
    assert Figure("x", "ms", [1.5], None, Target("≥", 1.5)).won is True


def test_a_ratio_is_that_of_the_medians_and_its_range_that_of_the_rounds() -> None:
    ratio = Ratio("x", [10.0, 30.0, 20.0], [1.0, 10.0, 5.0], Target("≥", 4), Target("≥", 5))
    assert ratio.median == 4.0
    assert ratio.spread == (3.0, 10.0)
    assert (ratio.met, ratio.won) == (True, False)


def test_a_peer_that_carried_nothing_makes_no_error() -> None:
    ratio = Ratio("x", [1.0], [0.0], Target("≥", 4))
    assert ratio.median == math.inf
    assert number(ratio.median) == "∞"
    assert '"median": null' in saved.dumps(RUN._replace(results={"x": [ratio]}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.01234, "0.0123"), (999.4, "999"), (1000.0, "1,000"), (610_432.0, "610,000")],
)
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_programs_take_turns_and_who_begins_changes() -> None:
    items = list(alternate("x", {"a": lambda: 1, "b": lambda: 2}, 2))
    turns = [item for item in items if isinstance(item, Turn)]
    assert turns == [Turn(0, "a", 1), Turn(0, "b", 2), Turn(1, "b", 2), Turn(1, "a", 1)]
    assert [item.share for item in items if isinstance(item, Step)] == [0.0, 0.25, 0.5, 0.75]


def test_a_ratio_takes_the_rounds_that_both_finished() -> None:
    rounds = Rounds({"tcp": Measure("TCP", "Gbit/s"), "rtt": Measure("RTT", "ms", True)})
    rounds.add("a", 0, {"tcp": 2.0})
    rounds.add("a", 1, {"tcp": 9.0, "rtt": 1.0})
    rounds.add("b", 0, {"tcp": 1.0})
    assert rounds.ratio("tcp", "a", "b", Target("≥", 2)) == Ratio(
        "TCP, against b", [2.0], [1.0], Target("≥", 2), None, "a"
    )
    assert rounds.ratio("rtt", "a", "b") == LeftOut("RTT, against b: a", "no figure of b")
    names = [(figure.name, figure.program) for figure in rounds.figures()]
    assert names == [("TCP", "a"), ("TCP", "b"), ("RTT", "a")]


def test_a_ratio_of_both_ways_takes_the_rounds_of_either() -> None:
    there, back = Measure("TCP", "Gbit/s"), Measure("TCP, the other way", "Gbit/s")
    rounds = Rounds({"tcp": there, "back": back})
    for each, (mine, theirs) in enumerate([(8.0, 2.0), (9.0, 8.0)]):
        rounds.add("a", each, {"tcp": mine, "back": mine})
        rounds.add("b", each, {"tcp": theirs, "back": 4.0})
    found = rounds.ratio(["tcp", "back"], "a", "b")
    assert found == Ratio(
        "TCP, either way, against b", [8.0, 9.0, 8.0, 9.0], [2.0, 8.0, 4.0, 4.0], program="a"
    )
    assert found.median == 8.5 / 4.0
    gap = rounds.ratio(["tcp", "back"], "a", "c")
    assert gap == LeftOut("TCP, either way, against c: a", "no figure of c")


def test_jobs_may_be_done_in_some_rounds_only() -> None:
    items = list(alternate("x", {"a": lambda: 1, "b": lambda: 2}, 3, range(1, 3)))
    turns = [(item.number, item.name) for item in items if isinstance(item, Turn)]
    assert turns == [(1, "b"), (1, "a"), (2, "a"), (2, "b")]
    assert next(iter(items)) == Step("x, round 2 of 3: b", 2 / 6)


def test_who_is_better_depends_on_the_measure() -> None:
    found = compare(lay_out(RESULTS["tcp"]).comparison, "ours", "theirs")
    assert [(each.name, each.factor) for each in found] == [("TCP", 5.0), ("memory", 1 / 3)]


def test_the_tables_show_ranges_misses_and_what_was_left_out() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(as_tables(RESULTS, "abacus"))
    shown = captured.get()
    assert "1 … 3" in shown
    assert "≤ 1 ✗ missed" in shown
    assert "≥ 2 ✓, race ≥ 4 not won" in shown
    assert "not installed [Errno 2]" in shown


def test_a_missed_target_fails_the_run_and_so_does_a_fault_of_ours() -> None:
    good = Figure("x", "s", [1.0], Target("≤", 1.0), Target("≤", 0.5))
    absent = LeftOut("peer", "not installed")
    assert passed(RUN._replace(results={"x": [good, absent]}))
    assert not passed(RUN)
    assert not passed(RUN._replace(results={"x": [good, LeftOut("we", "failed", fault=True)]}))


def test_a_run_that_was_kept_is_the_same_run() -> None:
    assert saved.loads(saved.dumps(RUN)) == RUN


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"machine": 1, "results": {"x": [1]}}'])
def test_what_was_not_kept_is_one_line_and_a_status(
    text: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "kept.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr("sys.argv", ["benchmarks", "--page", str(path)])
    assert main() == 2
    assert re.fullmatch(rf"make bench: {path}: .+\n", capsys.readouterr().err)


def test_percentiles_are_samples() -> None:
    hundred = [float(each) for each in range(100, 0, -1)]
    assert percentile(hundred, 99) == 99.0
    assert percentile(hundred, 100) == 100.0
    assert percentile([7.0], 99) == 7.0
