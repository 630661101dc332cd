"""The pages about the library name what exists: schemes, settings, and the words of its errors."""

from __future__ import annotations

import ast
import re

import pytest

from chancel.links.schemes import BUILT_IN
from tests.docs.markdown import ROOT, prose

_LIBRARY = ROOT / "docs/library.md"
_LINKS = ROOT / "docs/links.md"

_CODE = re.compile(r"`([^`]+)`")


def _rows(heading: str, text: str) -> list[list[str]]:
    """The cells of the first table behind a heading."""
    behind = text[text.index(heading) :]
    table = re.search(r"^\|[-|]+\|\n((?:\|.*\n)+)", behind, re.MULTILINE)
    assert table is not None
    return [line.strip("|").split("|") for line in table[1].splitlines()]


def _said() -> list[str]:
    """All text in the source of the library."""
    sources = [path for top in ("chancel", "libkyrka") for path in ROOT.glob(f"src/{top}/**/*.py")]
    return [
        node.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_errors_that_are_explained_are_those_that_are_raised() -> None:
    said = _said()
    rows = _rows("### What it says", _LIBRARY.read_text())
    quoted = [quote for row in rows for quote in _CODE.findall(row[0])]
    assert len(quoted) >= len(rows)
    assert [quote for quote in quoted if not any(quote in text for text in said)] == []


def test_the_table_of_transports_has_all_of_them() -> None:
    rows = _rows("## All of them", _LINKS.read_text())
    named = {row[0].strip(" `").partition(":")[0] for row in rows} - {"none"}
    assert named == set(BUILT_IN)


@pytest.mark.parametrize("scheme", sorted(BUILT_IN))
def test_the_table_of_settings_has_those_of(scheme: str) -> None:
    known = BUILT_IN[scheme]
    actions = [action for action in (known.connect, known.listen, known.bind) if action is not None]
    settings = {name for action in actions for name in action.options}
    named = {
        setting
        for row in _rows("Settings stand behind", _LINKS.read_text())
        if re.search(rf"\b{scheme}\b", row[1])
        for setting in _CODE.findall(row[0])
        if f"but `{setting}`: {scheme}" not in row[1]
    }
    assert named == settings


def test_no_page_about_the_library_is_left_over() -> None:
    """Each is reached from the tutorial."""
    assert {"links.md", "libkyrka.md", "api.md"} <= set(
        re.findall(r"\]\(([\w.]+\.md)", prose(_LIBRARY))
    )


def test_every_example_is_listed_and_run() -> None:
    examples = ROOT / "examples"
    listed = set(re.findall(r"\]\((\w[\w.]*)\)", prose(examples / "README.md")))
    there = {path.name for path in examples.iterdir() if path.name[0] not in "._"}
    assert listed == there - {"README.md"}
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    programs = [path.name for path in examples.glob("**/*.py")]
    assert [name for name in programs if name not in tests] == []
