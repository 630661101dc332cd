"""The page about ambries says what the program says."""

from __future__ import annotations

import ast
import re

from tests.docs.markdown import ROOT

PAGE = ROOT / "docs/ambry.md"
SOURCES = [
    *ROOT.glob("src/chancel/tools/ambry/*.py"),
    ROOT / "src/chancel/vault/files.py",
    ROOT / "src/chancel/cli/ambry_commands.py",
]


def test_errors_that_are_explained_are_those_that_are_raised() -> None:
    said = [
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    rows = PAGE.read_text().partition("| it says |")[2].splitlines()[2:]
    quoted = [match[1] for row in rows if (match := re.match(r"\| `([^`]+)`", row))]
    assert len(quoted) == 8
    without_numbers = [re.split(r"\d+", quote) for quote in quoted]
    missing = [
        parts
        for parts in without_numbers
        if not all(any(part.strip() in text for text in said) for part in parts)
    ]
    assert missing == []
