"""Links lead somewhere, and so do the references from code to pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, headings, links

CODE = sorted(
    path for top in ("src", "tests", "benchmarks") for path in ROOT.glob(f"{top}/**/*.py")
)

_NUMBER = r"(\d+(?:\.\d+)*)"
_SECTION = re.compile(rf"protocol\s+sections?\s+{_NUMBER}(?:(?:,| and| to)\s+{_NUMBER})*")
_PAGE = re.compile(r"\bdocs/[\w./-]+\.(?:md|svg)\b")


def _joined(path: Path) -> str:
    """Text whose comments and docstrings run on over line ends."""
    return re.sub(r"\n\s*#?\s*", " ", path.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is no file"
        assert not anchor or anchor in anchors(target), f"{path}#{anchor} is no heading"


def test_sections_that_code_names_exist() -> None:
    titles = headings(ROOT / "docs/protocol.md")
    known = {match[1] for title in titles if (match := re.match(r"([\d.]+?)\.? ", title))}
    named = {
        (str(path.relative_to(ROOT)), section)
        for path in CODE
        for match in _SECTION.finditer(_joined(path))
        for section in match.groups()
        if section
    }
    assert named, "no code refers to the protocol page: has its wording changed?"
    assert {entry for entry in named if entry[1] not in known} == set()


def test_pages_that_are_named_exist() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*PAGES, *CODE]
        for name in _PAGE.findall(path.read_text())
        if not (ROOT / name).exists()
    ]
    assert missing == []
