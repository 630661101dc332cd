"""The page of trust: every line names a test, and every test that it names exists."""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import re
from pathlib import Path

import pytest

from chancel.protocol import admission, client, path_trial, registration_pace, shroud_marks, switch
from chancel.protocol.behaviour import CHANCEL
from chancel.protocol.profile import CURRENT
from chancel.sim import heresies, heresy
from chancel.sim.meeting import MeetingScenario
from chancel.wire.ambry import DEVICES
from chancel.wire.offer import OFFER_BYTES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "trust.md"

_NODE = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")
_LINE = re.compile(r"^- .*(?:\n  .*)*", re.MULTILINE)

NODES = sorted(set(_NODE.findall(PAGE.read_text())))


@functools.cache
def names(path: str) -> frozenset[str]:
    """All tests of a file, as node ids without the file: those of classes with their class."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each}" for each in map(_name, node.body)}
        else:
            found.add(_name(node))
    return frozenset(each for each in found if each.rpartition("::")[2].startswith("test_"))


def _name(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else ""


@pytest.mark.parametrize("node", NODES)
def test_each_test_that_is_named_exists(node: str) -> None:
    path, _, name = node.partition("::")
    assert (ROOT / path).exists(), f"{path} is gone"
    assert name in names(path), f"{PAGE.name} names a test that there isn't"


def test_each_line_names_one() -> None:
    lines = _LINE.findall(PAGE.read_text())
    assert len(lines) > 50
    assert [line for line in lines if not _NODE.search(line)] == []


def test_a_name_that_is_misspelt_would_be_noticed() -> None:
    assert _NODE.fullmatch("`tests/trust/test_page.py::test_gone`")
    assert "test_gone" not in names("tests/trust/test_page.py")
    assert "test_each_line_names_one" in names("tests/trust/test_page.py")


def test_every_heresy_has_its_row() -> None:
    """What is not in the table nobody would know to be harmless."""
    table = PAGE.read_text().split("\n## Cathedral\n")[1].split("\n- ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`([\w-]+)`", row[2])]
    assert sorted(named) == sorted({re.sub(r"cuts-\d+", "cuts", each) for each in heresies.NAMES})
    assert all(len(row) == 5 and row[3].strip() for row in rows)


def test_its_figures_are_those_of_the_code() -> None:
    """A limit that is moved is moved here, too."""
    text = " ".join(PAGE.read_text().split())
    assert CHANCEL.receive_key_limit_s is not None
    bounds = [
        dataclasses.replace(
            heresy.case(1), escape=True, scenario=MeetingScenario(1, (None, None), count)
        ).bound_s
        for count in (2, 3)
    ]
    minutes = [math.ceil(bound_s / 60) for bound_s in bounds]
    for words in (
        f"are opened {admission.MAX_FORGERIES_PER_S} times a second at most",
        f"(an hour and {CHANCEL.receive_key_limit_s - 3600:.0f} seconds)",
        f"nothing {CHANCEL.replay_window:,} numbers newer",
        f"heartbeats ({len(path_trial.OPENER)} bytes), {_WORDS[1 / path_trial.AT_ONCE_S]} a second",
        f"questions ({OFFER_BYTES} bytes, two or three in {registration_pace.INFO_SPACING_S} s)",
        f"it is left for another cathedral after {client.IN_VAIN_S:.0f} s",
        f"takes {minutes[0]} minutes at most with two cathedrals, and {minutes[1]} with three",
        f"the tunnel ends after {switch.AMBRY_LIMIT_S:.0f} s",
        f"a disk is written to every {_WORDS[client.STORE_SPACING_S]} seconds at most",
        f"more than {_WORDS[CURRENT.offer_validity_s]} seconds wrong",
        f"stays for {_WORDS[shroud_marks.ROTATE_S / 60]} minutes",
        f"a tunnel to each, {len(DEVICES) - 2} at most",
    ):
        assert words in text, words


_WORDS: dict[float, str] = {4: "four", 5: "five", 10: "ten"}


def test_every_position_has_its_worst() -> None:
    text = PAGE.read_text()
    for position in (
        *("Observer off the path", "Observer on the path", "Cathedral", "Federated cathedral"),
        *("Peer", "Device", "A process of the daemon, taken over"),
    ):
        section = text.split(f"\n## {position}\n")[1].split("\n## ")[0]
        assert "**The worst:**" in section, position
