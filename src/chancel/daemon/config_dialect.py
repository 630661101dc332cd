"""Files of liturgies and of cathedrals: some directives mean what they do in a tunnel's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from chancel.daemon import config_directives
from chancel.daemon.config_directives import Draft
from chancel.daemon.config_lines import directives
from chancel.daemon.config_values import Refused
from chancel.errors import ConfigError

D = TypeVar("D", bound=Draft)


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect(Generic[D]):
    """What a file of ``mode`` may say: ``shared`` are those of a tunnel's file, ``own`` others."""

    mode: str
    shared: frozenset[str]
    own: Mapping[str, Callable[[D, str], None]]

    def read(self, draft: D, text: str, file: str) -> None:
        """Let each line of ``text`` change the draft; ``file`` is its name in messages.

        Raises :class:`ConfigError`, with the line.
        """
        for line, name, value in directives(text, file):
            draft.line = line
            try:
                self._apply(draft, name, value)
            except Refused as refused:
                raise ConfigError(file, line, name, str(refused)) from None

    def _apply(self, draft: D, name: str, value: str) -> None:
        if name in self.shared:
            config_directives.apply(draft, name, value)
            return
        own = self.own.get(name)
        if own is None:
            meaningless = f"has no meaning for a {self.mode} (expected no such line)"
            raise Refused(config_directives.unknown(name) or meaningless)
        own(draft, value)
        draft.lines[name] = draft.line
