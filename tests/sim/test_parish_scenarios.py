"""Scenario files: what they say, what is wrong with them, and what comes of the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chancel.errors import ConfigError
from chancel.protocol.events import (
    PathDirect,
    PathRelayed,
    PeerUnresponsive,
    ReceiveKeyUsed,
    SendKeyInstalled,
)
from chancel.protocol.session_types import SessionEvent
from chancel.sim.network_scenario import Crypto
from chancel.sim.scenario_command import run_
from chancel.sim.scenario_events import Line, Teller, Word, canonical
from chancel.sim.scenario_file import Partition, Standing, load, parse
from chancel.sim.scenario_run import run
from chancel.wire.types import Address, Spi

EXAMPLES = Path(__file__).parents[2] / "examples" / "scenarios"
FILES = sorted(EXAMPLES.glob("*.toml"))
SPLIT = (EXAMPLES / "split_that_heals.toml").read_text()
APP = typer.Typer()
APP.command()(run_)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_goes_as_it_says(file: Path) -> None:
    outcome = run(load(file), Crypto.FAST)
    assert outcome.problems == ()
    assert {line.who for line in outcome.lines} <= set(load(file).devices)


def test_there_are_three_examples() -> None:
    assert len(FILES) == 3


def test_a_file_is_read() -> None:
    scenario = parse(SPLIT, "split.toml")
    assert list(scenario.devices) == ["anna", "bert", "carla"]
    assert scenario.devices["carla"].number == 3
    assert scenario.devices["anna"].link.loss == 0.01
    assert [each.at_s for each in scenario.happenings] == [60.0, 240.0]
    assert isinstance(scenario.happenings[0], Partition)
    assert [each.standing for each in scenario.expectations][-2:] == [
        Standing.DOWN,
        Standing.RELAYED,
    ]


def test_real_and_fast_primitives_tell_the_same_story() -> None:
    scenario = parse(
        SPLIT.replace("420", "100").split("[[expectations]]")[0].replace("240", "90"), "s"
    )
    fast, real = run(scenario, Crypto.FAST), run(scenario, Crypto.REAL)
    assert fast == real
    assert canonical(fast.lines)["anna", "bert"] == (Word.RELAYED, Word.UP, Word.DIRECT)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'place = "symmetric"',
            'place = "cellar"',
            ":25: devices.carla.place: 'cellar' is none of",
        ),
        ("heal = true", "heel = true", ":32: events[1]: has to have exactly one of kill"),
        ("heal = true", "heal = false", ":34: events[1].heal: is true, or left out"),
        ("heal = true", "roll = true", ":34: events[1].roll: there is nothing to roll"),
        ("lasts_s = 420", 'lasts_s = "x"', ":5: lasts_s: expected a number, not 'x'"),
        ("lasts_s = 420", "seeds = 420", ": lasts_s: is missing"),
        ("lasts_s = 420", "lasts_s == 3", ":5: lasts_s: Invalid value"),
        ("lasts_s = 420", "lasts_s = 420\nlasts_s = 9", ":6: lasts_s: Cannot overwrite a value"),
        ("lasts_s = 420", "last_s = 420", ":5: last_s: is not a key of this table (expected lasts"),
        ("by_s = 300", "by = 300", ".by: is not a key of this table (expected by_s)"),
        ("loss = 0.01", "loss = 2", ":11: link.loss: 2 is not from 0 to 1"),
        ("loss = 0.01", "lost = 0.01", ":11: link.lost: is not a key of this table"),
        ("by_s = 300", "by_s = 3000", ":57: expectations[4].by_s: 3000 is not from 0 to 420"),
        ('is = "relayed"', 'is = "rolled"', ":44: expectations[1].is: nothing rolls without"),
        ('"carla", "west"]]', '"carla", "anna"]]', ":30: events[0].partition: anna: in two groups"),
        ('["anna", "carla"]]', '["bert", "anna"]]', ":6: tunnels: bert and anna have one already"),
        ('["anna", "carla"]]', '["anna", "anna"]]', ":6: tunnels: expected two different devices"),
        ("[cathedrals.west]", "[cathedrals.anna]", "devices.anna: is the name of a cathedral, too"),
        ('cathedrals = ["west"]', "cathedrals = []", ":26: devices.carla.cathedrals: at least one"),
    ],
)
def test_an_error_names_line_and_key(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(SPLIT.replace(old, new), "f.toml")
    assert said in str(refused.value)
    assert str(refused.value).startswith("f.toml:")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"title = 'x'\n\xff\xfe", ":2: is no text in UTF-8"),
        (b"", ": lasts_s: is missing"),
        (b"title = ", ": Invalid value"),
        (b"title = 'x", ": Expected"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}{said[:2]}")
    assert said in str(refused.value)


def test_what_was_not_as_expected_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    text = (EXAMPLES / "two_behind_nat.toml").read_text()
    file.write_text(text.replace('is = "direct"', 'is = "down"'))
    done = CliRunner().invoke(APP, [str(file), "--crypto", "fast"])
    assert done.exit_code == 1
    assert "line 18: after 40 s anna - bert is not down, but up, direct" in done.output
    assert f"repeat: chancel sim run {file} --crypto fast" in done.output


def test_the_command_tells_what_happened_to_scripts() -> None:
    words = [str(EXAMPLES / "two_behind_nat.toml"), "--json", "--crypto", "fast"]
    done = CliRunner().invoke(APP, words)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["problems"] == []
    assert figures["canonical"][0] == {
        "who": "anna",
        "peer": "bert",
        "what": ["relayed", "up", "direct"],
    }


def test_events_become_words() -> None:
    teller, spi, address = Teller(), Spi(1), Address("192.0.2.1", 1)
    story: list[tuple[SessionEvent, Word | None]] = [
        (PathRelayed(None), None),
        (PathRelayed(address), Word.RELAYED),
        (ReceiveKeyUsed(spi), None),
        (SendKeyInstalled(spi), Word.UP),
        (SendKeyInstalled(spi), None),
        (ReceiveKeyUsed(spi), Word.NEW_KEY),
        (PathDirect(address), Word.DIRECT),
        (PathDirect(address), None),
        (PeerUnresponsive(120.0), Word.DOWN),
        (PeerUnresponsive(120.0), None),
        (ReceiveKeyUsed(spi), None),
        (SendKeyInstalled(spi), Word.UP),
    ]
    assert [teller.take(event) for event, _ in story] == [word for _, word in story]
    assert teller.end() is Word.DOWN
    assert not teller.up


def test_canonical_leaves_times_and_repetitions_out() -> None:
    told = [(3.0, Word.NEW_KEY), (1.0, Word.UP), (4.0, Word.NEW_KEY), (5.0, Word.DOWN)]
    lines = [Line(at, "a", "b", word) for at, word in told]
    assert canonical(lines) == {("a", "b"): (Word.UP, Word.NEW_KEY, Word.DOWN)}
