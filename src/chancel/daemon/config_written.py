"""Files that the keeper replaces: what another line names would be lost with the first ambry."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from chancel.daemon import replacing
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_secret import MAX_PATH_CHARS
from chancel.daemon.config_types import TunnelConfig


class _Use(NamedTuple):
    """A file that a line names; no line for a configuration itself.

    ``real`` is its path without links in the directory. Looked up once: a group of many tunnels has
    thousands of pairs.
    """

    config: TunnelConfig
    directive: str
    path: Path
    real: str
    is_written: bool

    @classmethod
    def of(
        cls, config: TunnelConfig, directive: str, path: Path, *, is_written: bool = False
    ) -> _Use:
        """The use of ``path`` in that line."""
        real = str(Path(os.path.realpath(path.parent)) / path.name)
        return cls(config, directive, path, real, is_written)

    def is_line_of(self, other: _Use) -> bool:
        """Whether both are of one line, as a secret's file is read and replaced."""
        return self.config is other.config and self.directive == other.directive

    def touches(self, other: _Use) -> bool:
        """Whether one of them is replaced, or written on the way to that, and is the other one."""
        mine, theirs = self.real, other.real
        return (self.is_written and theirs in (mine, mine + replacing.SUFFIX)) or (
            other.is_written and mine in (theirs, theirs + replacing.SUFFIX)
        )


def check_written(configs: Sequence[TunnelConfig]) -> None:
    """Refuse a file to be replaced that another line of these names, too. Raises ConfigError."""
    seen: list[_Use] = []
    for use in (use for config in configs for use in _uses(config)):
        for earlier in seen:
            if use.touches(earlier) and not use.is_line_of(earlier):
                shown = quoted(str(use.path), MAX_PATH_CHARS)
                problem = (
                    f"{shown} is taken by {earlier.config.place(earlier.directive)}, and one of the"
                    " two is replaced (expected one of its own)"
                )
                raise use.config.refusal(use.directive, problem)
        seen.append(use)


def _uses(config: TunnelConfig) -> Iterator[_Use]:
    """What is written comes last, so that it is named in the error."""
    yield _Use.of(config, "", Path(config.file))
    yield from (_Use.of(config, name, path) for name, path, _size in config.key_files)
    if config.pidfile is not None:
        yield _Use.of(config, "pidfile", config.pidfile)
    if config.control is not None:
        yield _Use.of(config, "control", config.control.path)
    yield from (_Use.of(config, name, path, is_written=True) for name, path in config.written_files)
