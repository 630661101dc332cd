"""Reading the repository's Markdown: fenced blocks, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for place in ("", "docs/**/", "examples/**/") for path in ROOT.glob(f"{place}*.md")
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: ``line`` is the 1-based line of its first line of text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> list[Block]:
    """All blocks of one language, in all pages."""
    return [
        Block(page, text.count("\n", 0, match.start()) + 2, match[1], match[2])
        for page in PAGES
        for text in [page.read_text()]
        for match in _FENCE.finditer(text)
        if match[1] == language
    ]


def pages(language: str) -> list[Path]:
    """The pages that have blocks of a language."""
    return sorted({block.page for block in blocks(language)})


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def headings(page: Path) -> list[str]:
    """The text of each heading."""
    return _HEADING.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What ``#...`` may point to in a page."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)
    }


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Target and anchor of each link that stays in the repository."""
    for target in _LINK.findall(prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor
