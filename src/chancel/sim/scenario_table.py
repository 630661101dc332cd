"""TOML whose every error names its line and key: what ``tomllib`` leaves out, and no more."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, TypeVar

from chancel.errors import ConfigError

T = TypeVar("T", str, bool, list[Any], dict[str, Any])
Step = str | int

_HEADER: Final = re.compile(r"\s*(\[\[?)[^\]]+\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*'|[.\s])+?)\s*=")
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")
_WORDS: Final = {str: "text", bool: "true or false", list: "a list", dict: "a table"}


class Table:
    """A table of a file, whose keys are taken one by one; :meth:`finish` refuses the others.

    Everything raises ``ConfigError`` for what is wrong.
    """

    def __init__(self, source: Source, path: tuple[Step, ...], values: Mapping[str, Any]) -> None:
        self._source = source
        self._path = path
        self._left = dict(values)

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __iter__(self) -> Iterator[str]:
        """The keys not yet taken, in the file's order."""
        return iter(tuple(self._left))

    def refuse(self, key: str | None, problem: str) -> NoReturn:
        """Raise for a key of this table, or for the table."""
        path = self._path if key is None else (*self._path, key)
        raise ConfigError(self._source.name, self._source.line(path), _written(path), problem)

    def _missing(self, key: str) -> NoReturn:
        """Raise for a key that has to be there; a slip of the pen is named where it stands."""
        for other in difflib.get_close_matches(key, self._left, 1):
            self.refuse(other, f"is not a key of this table (expected {key})")
        self.refuse(key, "is missing")

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """A value of this type; without a default there has to be one."""
        if key not in self._left:
            if default is None:
                self._missing(key)
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind):
            self.refuse(key, f"expected {_WORDS[kind]}, not {value!r}")
        return value

    def number(self, key: str, default: float | None = None, *, most: float = math.inf) -> float:
        """A number from 0 to ``most``."""
        if key not in self._left:
            if default is None:
                self._missing(key)
            return default
        value = self._left.pop(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, f"expected a number, not {value!r}")
        if not 0 <= value <= most or not math.isfinite(value):
            self.refuse(key, f"{value} is not from 0 to {most:g}")
        return float(value)

    def choice(self, key: str, choices: Mapping[str, Any] | tuple[str, ...], default: str) -> str:
        """One of these words."""
        return self.known(key, self.take(key, str, default), choices)

    def known(self, key: str, word: object, choices: Mapping[str, Any] | tuple[str, ...]) -> str:
        """The same for a word that was in a list under this key."""
        if not isinstance(word, str) or word not in choices:
            self.refuse(key, f"{word!r} is none of {', '.join(choices) or 'nothing'}")
        return word

    def table(self, key: str) -> Table:
        """A table in this one, empty if there is none."""
        return Table(self._source, (*self._path, key), self.take(key, dict, {}))

    def tables(self, key: str) -> Iterator[tuple[str, Table]]:
        """The tables in a table, by name."""
        inner = self.table(key)
        for name in inner:
            yield name, inner.table(name)

    def array(self, key: str) -> Iterator[Table]:
        """The tables of a list."""
        for number, values in enumerate(self.take(key, list, [])):
            if not isinstance(values, dict):
                self.refuse(key, f"expected tables, written as [[{key}]]")
            yield Table(self._source, (*self._path, key, number), values)

    def finish(self) -> None:
        """Refuse what nobody took."""
        for key in self._left:
            self.refuse(key, "is not a key of this table")


class Source:
    """The text of a file, and on which line each of its keys is."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._lines: dict[tuple[Step, ...], int] = {}
        try:
            self.values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _AT_LINE.search(str(error))
            line = int(place[1]) if place else None
            key = _key_of(text, line)
            raise ConfigError(name, line, key, _AT_LINE.sub("", str(error))) from error
        self._index(text)

    def table(self) -> Table:
        """The whole file."""
        return Table(self, (), self.values)

    def line(self, path: tuple[Step, ...]) -> int | None:
        """Where this is, or else what it is in; ``None`` for the file as a whole."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def _index(self, text: str) -> None:
        at: tuple[Step, ...] = ()
        counts: dict[tuple[Step, ...], int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                at = _steps(line)
                if header[1] == "[[":
                    counts[at] = counts.get(at, -1) + 1
                    at = (*at, counts[at])
                self._lines.setdefault(at, number)
            elif key := _KEY.match(line):
                self._lines.setdefault((*at, *_steps(f"{key[1]} = 0")), number)


def _key_of(text: str, line: int | None) -> str | None:
    """The key of a line that is no TOML, as far as it has one."""
    for broken in text.splitlines()[line - 1 : line] if line else ():
        if key := _KEY.match(broken):
            return key[1].strip()
    return None


def _steps(line: str) -> tuple[Step, ...]:
    """The path that a header or a key spells; nothing for what only looks like one."""
    try:
        found: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    steps: list[Step] = []
    while isinstance(found, dict | list) and found:
        if isinstance(found, list):
            found = found[0]
        else:
            ((step, found),) = found.items()
            steps.append(step)
    return tuple(steps)


def _written(path: tuple[Step, ...]) -> str | None:
    """A path as people write it."""
    words = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "".join(words).removeprefix(".") or None
