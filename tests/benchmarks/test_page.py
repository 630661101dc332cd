"""The page that a run writes: every result is in it, losses as openly as wins; and its plots."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from xml.etree import ElementTree

import pytest

from benchmarks import SECTIONS, page
from benchmarks.plot import draw
from benchmarks.relaying import OUR_CATHEDRALS, RELAY_MEASURES
from benchmarks.result import Figure, LeftOut, Result, Target
from benchmarks.saved import Run
from benchmarks.targets import PROMISES, promises
from benchmarks.turns import Rounds
from benchmarks.vpns import ACCELERATED, PURE, REFERENCE, WIREGUARD
from benchmarks.workloads import MASKED_MEASURES, MEASURES

OURS = [ACCELERATED.name, PURE.name]
ALL = {**MEASURES, **MASKED_MEASURES}
SVG = "{http://www.w3.org/2000/svg}"


def rounds() -> Rounds:
    """Each program has each figure: ours are fast, and need much memory."""
    made = Rounds(ALL)
    for number in range(3):
        for place, name in enumerate([*OURS, REFERENCE, WIREGUARD]):
            sample = {
                key: (place + 1.0 if measure.less else 40.0 / (place + 1))
                for key, measure in ALL.items()
            }
            made.add(name, number, {**sample, "memory": 80.0 if name in OURS else 2.0})
    return made


def run(*more: Result) -> Run:
    tunnel = [*rounds().figures(), *promises(rounds(), OURS), *more]
    relaying: list[Result] = [
        Figure(each.name, each.unit, [1.0], program=program)
        for each in RELAY_MEASURES.values()
        for program in (*OUR_CATHEDRALS, "reference's cathedral")
    ]
    results: dict[str, list[Result]] = {name: [] for name in SECTIONS}
    results |= {"tunnel": tunnel, "relaying": relaying}
    return Run({"machine": "abacus"}, "make bench", True, results)


def test_every_promise_of_the_traffic_is_held_against_both_of_our_programs() -> None:
    held = list(promises(rounds(), OURS))
    assert all(not isinstance(item, LeftOut) for item in held)
    programs = [item.program for item in held if not isinstance(item, LeftOut)]
    assert programs.count(ACCELERATED.name) == 10
    assert programs.count(PURE.name) == 9


def test_a_promise_without_its_peer_is_left_out_by_name() -> None:
    alone = Rounds(ALL)
    alone.add(PURE.name, 0, {"tcp1": 1.0})
    held = list(promises(alone, [PURE.name]))
    assert LeftOut(
        f"TCP, one stream, either way, against {REFERENCE}: {PURE.name}", "no figure of reference"
    ) in (held)
    assert all(isinstance(item, LeftOut) for item in held)


def test_the_template_has_a_place_for_every_section() -> None:
    assert set(SECTIONS) <= set(Template(page.TEMPLATE.read_text()).get_identifiers())


def test_the_page_shows_losses_as_it_shows_wins() -> None:
    text = page.text(run())
    ours = text.partition(f"**{ACCELERATED.name}, against {REFERENCE}**")[2]
    better, worse = re.findall(r"^\* (?:better|worse): (.*)$", ours, re.MULTILINE)[:2]
    assert "TCP, one stream (40 to 13.3 Gbit/s)" in better
    assert worse == f"{MEASURES['memory'].name} (80 to 2 MB)"
    assert "abacus" in text


def test_misses_and_gaps_are_in_the_page() -> None:
    missed = Figure("exchange", "ms", [3.0], Target("≤", 1.0))
    gone = LeftOut("tinc", "not installed")
    broken = LeftOut("Chancel", "it fell over", fault=True)
    text = page.text(run(missed, gone, broken))
    assert "| exchange | 3 | one sample | ms | ≤ 1 ✗ **missed** |" in text
    assert "* tunnel: tinc: not installed" in text
    assert "* tunnel: Chancel: **failed:** it fell over" in text


def test_whoever_races_and_may_lose_has_an_explanation() -> None:
    races = [item for item in promises(rounds(), OURS) if not isinstance(item, LeftOut)]
    races = [item for item in races if item.race]
    assert len(races) == sum(
        bool(goal and goal.race) for each in PROMISES for goal in (each.pure, each.accelerated)
    ) + len(["round trips under load, in themselves"])
    known = page.reasons()
    assert [item.name for item in races if page.reason(item, known) is None] == []
    names = {name for item in races for name in (item.name, f"{item.name}: {item.program}")}
    assert set(known) <= names, "nobody reads the others"


def test_a_race_that_is_not_won_is_explained_and_no_other() -> None:
    name = "RTT, idle: p50, against reference"
    lost = Figure(name, "times", [1.2], None, Target("≤", 1.0), ACCELERATED.name)
    won = Figure(name, "times", [0.9], None, Target("≤", 1.0), PURE.name)
    text = page.text(run(lost, won))
    assert f"**{name}: {ACCELERATED.name}** (1.2, wanted ≤ 1). A lone packet" in text
    assert f"**{name}: {PURE.name}**" not in text


def test_the_page_is_written_of_what_ran() -> None:
    text = page.text(Run({"machine": "abacus"}, "make bench", True, {}))
    assert ".svg" not in text
    assert "Not in this run." in text


def test_the_page_and_its_plots_are_written_side_by_side(tmp_path: Path) -> None:
    written = page.write(run(), tmp_path / "benchmarks.md")
    linked = re.findall(r"\((benchmarks-\w+\.svg)\)", (tmp_path / "benchmarks.md").read_text())
    assert sorted(path.name for path in written) == sorted(["benchmarks.md", *linked])
    assert len(linked) == len(page.PLOTS)


def test_a_plot_has_a_bar_for_each_program_as_long_as_its_median() -> None:
    figures = {
        "ours": Figure("TCP", "Gbit/s", [1.0, 2.0, 3.0]),
        "theirs": Figure("TCP", "Gbit/s", [1.0, 1.0, 90.0]),
    }
    root = ElementTree.fromstring(draw("A & B", [("TCP <1>", figures)], ["ours"]))
    bars = [each for each in root.iter(f"{SVG}rect") if each.get("class") != "page"]
    assert [bar.get("class") for bar in bars] == ["ours0", "peer0"]
    lengths = [float(bar.attrib["width"]) for bar in bars]
    assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.01)
    width = float(root.attrib["width"])
    ends = [float(each.attrib["x2"]) for each in root.iter(f"{SVG}line")]
    assert max(ends) <= width
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert {"A & B", "TCP <1>, Gbit/s", "ours", "theirs", "2"} <= set(words)
    style = root.find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme: dark" in (style.text or "")
