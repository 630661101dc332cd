"""One scenario file in the simulator and in the lab: the same words, in the same order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chancel.cli.main import main
from chancel.demo.scenario_lab import run as run_in_lab
from chancel.errors import ConfigError
from chancel.lab.namespace import LabError
from chancel.sim.scenario_events import canonical
from chancel.sim.scenario_file import parse
from chancel.sim.scenario_run import run as run_in_sim

# A file of half a minute with most that can happen in it; the examples take minutes.
SHORT = """
title = "Everything at once"
lasts_s = 62
tunnels = [["anna", "bert"], ["anna", "carla"]]

[cathedrals.east]
[cathedrals.west]

[devices.anna]
place = "port-restricted"
cathedrals = ["east"]

[devices.bert]
place = "full-cone"
cathedrals = ["east", "west"]

[devices.carla]
place = "symmetric"
cathedrals = ["west"]
on = false

[[events]]
at_s = 16
start = "carla"

[[events]]
at_s = 34
kill = "bert"

[[events]]
at_s = 38
move = "carla"
place = "public"

[[expectations]]
by_s = 14
tunnel = ["anna", "bert"]
is = "direct"

[[expectations]]
by_s = 14
tunnel = ["anna", "carla"]
is = "down"

[[expectations]]
by_s = 32
tunnel = ["anna", "carla"]
is = "relayed"

[[expectations]]
by_s = 36
tunnel = ["anna", "bert"]
is = "down"

[[expectations]]
by_s = 58
tunnel = ["anna", "carla"]
is = "direct"
"""

QUICK = """
lasts_s = 12
[cathedrals.east]
[devices.anna]
place = "port-restricted"
[devices.bert]

[[expectations]]
by_s = 10
tunnel = ["anna", "bert"]
is = "direct"

[[expectations]]
by_s = 11
tunnel = ["anna", "bert"]
is = "relayed"
"""

ALONE = """
lasts_s = 1
[cathedrals.east]
[devices.anna]
program = "reference"
[devices.bert]
program = "reference"
"""


@pytest.mark.timeout(300)
def test_sim_and_lab_tell_the_same() -> None:
    scenario = parse(SHORT, "short.toml")
    simulated = run_in_sim(scenario)
    assert simulated.problems == ()
    lines, problems = run_in_lab(scenario)
    assert problems == (), "\n".join(map(str, lines))
    assert canonical(lines) == canonical(simulated.lines)


@pytest.mark.timeout(180)
def test_both_commands_tell_scripts_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "quick.toml"
    file.write_text(QUICK)
    told = []
    for where in ("sim", "lab"):
        assert main([where, "run", str(file), "--json"]) == 1
        captured = capsys.readouterr()
        assert f"{file}: line 13: after 11 s anna - bert is not relayed" in captured.err
        told.append(json.loads(captured.out))
    simulated, played = told
    assert {(each["who"], each["peer"]) for each in played["canonical"]} == {
        ("anna", "bert"),
        ("bert", "anna"),
    }
    assert sorted(played["canonical"], key=str) == sorted(simulated["canonical"], key=str)
    assert len(played["problems"]) == 1
    assert {each["what"] for each in played["lines"]} >= {"up", "direct"}


def test_what_the_lab_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANCTUM", raising=False)
    with pytest.raises(LabError, match="anna runs the reference: as root, with SANCTUM"):
        run_in_lab(parse(ALONE, "alone.toml"))


def test_errors_of_a_file_name_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("lasts_s = 1\nlast = 2\n")
    with pytest.raises(ConfigError, match="cathedrals"):
        parse(file.read_text(), str(file))
