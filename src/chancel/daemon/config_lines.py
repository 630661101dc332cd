"""The lexical rules of a tunnel's configuration file: text in, numbered directives out.

One directive per line. There are no quotes, escapes, includes, blocks or trailing comments; these
are the rules of the sanctum daemon, whose files are read unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from chancel.errors import ConfigError

MAX_LINE_CHARS = 8191
"""A longer line is cut and its rest read as the next line, as by a C buffer of 8192 bytes."""

MAX_SHOWN_CHARS = 60
"""How much of a value an error message repeats."""

_WHITE = " \t\n\v\f\r"


class Directive(NamedTuple):
    """One line that says something. ``line`` is 1-based; ``value`` is never empty."""

    line: int
    name: str
    value: str


def quoted(text: str, limit: int = MAX_SHOWN_CHARS) -> str:
    """``text`` in quotes, fit for one line of a terminal: escaped, and cut when it is long."""
    shown = text if len(text) <= limit else text[:limit] + "…"
    return ascii(shown) if not shown.isprintable() else repr(shown)


def directives(text: str, file: str) -> Iterator[Directive]:
    """Cut ``text`` into directives; raises :class:`ConfigError` for a line without a value."""
    for number, whole in enumerate(text.split("\n"), start=1):
        if "\0" in whole:
            raise ConfigError(file, number, None, "a NUL character (expected a text file)")
        for start in range(0, len(whole), MAX_LINE_CHARS):
            line = whole[start : start + MAX_LINE_CHARS].lstrip(_WHITE)
            if line and not line.startswith("#"):
                yield _directive(line.replace("\t", " "), file, number)


def _directive(line: str, file: str, number: int) -> Directive:
    name, blank, rest = line.partition(" ")
    value = rest.lstrip(" ").rstrip(_WHITE)
    if not blank:
        problem = f"malformed line {quoted(line.rstrip(_WHITE))} (expected DIRECTIVE VALUE)"
        raise ConfigError(file, number, None, problem)
    if not value:
        problem = f"no value given for {quoted(name)} (expected DIRECTIVE VALUE)"
        raise ConfigError(file, number, None, problem)
    return Directive(number, name, value)
