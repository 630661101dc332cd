"""The page of trust: every line names a test, and every test that it names exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

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


def test_every_position_has_its_worst() -> None:
    text = PAGE.read_text()
    for position in (
        *("Observer off the path", "Observer on the path", "Cathedral", "Federated cathedral"),
        *("Peer", "Device", "A process of the daemon, taken over"),
    ):
        section = text.split(f"\n## {position}\n")[1].split("\n## ")[0]
        assert "**The worst:**" in section, position
