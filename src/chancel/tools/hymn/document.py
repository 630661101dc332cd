"""A configuration as text that can be changed in one place, with everything else left as it is.

Comments, blank lines, the order of lines, directives that nobody here knows and bytes that are no
text survive every edit. A new line goes where the reference's tool would have it: behind the last
of those directives that come before it in a file of that tool. So in such a file the result is
what the tool itself would have written.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from chancel.daemon.config_lines import MAX_LINE_CHARS, Directive, directives
from chancel.errors import ConfigError

_GROUPS = (
    (
        *("mode", "spi", "instance", "pidfile", "tap", "bridge", "tunnel"),
        *("liturgy_prefix", "liturgy_group", "liturgy_discoverable"),
        *("shroud", "kek", "secret", "descr"),
    ),
    (
        *("local", "cathedral_id", "cathedral_flock", "cathedral_flock_dst", "cathedral_secret"),
        *("cathedral_cosk", "cathedral_remembrance", "cathedral_nat_port", "cathedral", "peer"),
    ),
    ("route", "accept"),
)
"""The order of directives; a blank line stands between groups."""

_PLACES = {
    name: (group, rank) for group, names in enumerate(_GROUPS) for rank, name in enumerate(names)
}

_WHITE = r"[ \t\n\v\f\r]*"
_LINE = re.compile(rf"({_WHITE}[^ \t]+[ \t]+)(.*?)({_WHITE})", re.DOTALL)


class Document:
    """The text of a configuration; ``file`` is its name in messages.

    Making one raises :class:`ConfigError` for what can't be read line by line.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._lines = text.split("\n")
        for number, line in enumerate(self._lines, start=1):
            if len(line) > MAX_LINE_CHARS:
                problem = f"too long (expected at most {MAX_LINE_CHARS} characters in a line)"
                raise ConfigError(file, number, None, problem)
        self.directives()

    @property
    def text(self) -> str:
        """The whole of it."""
        return "\n".join(self._lines)

    def directives(self) -> list[Directive]:
        """What it says, in order."""
        return list(directives(self.text, self.file))

    def values(self, name: str) -> list[str]:
        """The value of every line of that name."""
        return [each.value for each in self.directives() if each.name == name]

    def set(self, name: str, value: str) -> None:
        """Give a directive that stands once, or not yet, a value.

        Raises :class:`ConfigError` if it stands twice: which one is meant?
        """
        found = [each for each in self.directives() if each.name == name]
        if len(found) > 1:
            problem = f"stands {len(found)} times (expected one: edit the file itself)"
            raise ConfigError(self.file, found[1].line, name, problem)
        if not found:
            self.add(name, value)
            return
        at = found[0].line - 1
        match = _LINE.fullmatch(self._lines[at])
        if match is None:
            raise AssertionError("a directive's line has a name and a value")
        self._lines[at] = f"{match[1]}{value}{match[3]}"

    def add(self, name: str, value: str) -> None:
        """Add a line, above those of the same name."""
        found = self.directives()
        line = f"{name} {value}"
        same = next((each for each in found if each.name == name), None)
        if same is not None:
            self._lines.insert(same.line - 1, line)
            return
        place = _PLACES[name]
        before = [each for each in found if _PLACES.get(each.name, place) < place]
        if not before:
            self._lines.insert(found[0].line - 1 if found else len(self._lines) - 1, line)
            return
        anchor = before[-1]
        self._insert_behind(anchor.line, line, apart=_PLACES[anchor.name][0] != place[0])

    def remove(self, name: str, chosen: Callable[[str], bool] = lambda _value: True) -> None:
        """Take out the lines of that name, or those of them whose value is ``chosen``."""
        gone = {
            each.line - 1 for each in self.directives() if each.name == name and chosen(each.value)
        }
        self._lines = [line for at, line in enumerate(self._lines) if at not in gone]

    def _insert_behind(self, at: int, line: str, *, apart: bool) -> None:
        """Insert behind the first ``at`` lines; ``apart``: with blank lines around it."""
        if not apart:
            self._lines.insert(at, line)
            return
        if at < len(self._lines) - 1 and self._is_blank(at):
            at += 1
        else:
            self._lines.insert(at, "")
            at += 1
        self._lines.insert(at, line)
        after = at + 1
        if after < len(self._lines) and not self._is_blank(after) and not self._is_list(after):
            self._lines.insert(after, "")

    def _is_blank(self, at: int) -> bool:
        return not self._lines[at].strip()

    def _is_list(self, at: int) -> bool:
        return self._lines[at].split()[0] in _GROUPS[-1]
