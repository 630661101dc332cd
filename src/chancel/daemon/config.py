"""Reading a tunnel's configuration file: the grammar of the sanctum daemon, without a cathedral.

:func:`parse` takes text, :func:`load` a path, :func:`load_descriptor` an open file that another
process handed over. All return a :class:`TunnelConfig` or raise :class:`ConfigError`, one line
``FILE:LINE: directive: problem (expected ...)``; nothing is created or changed. The secret named by
a file is looked at (type, owner, mode, size) but never opened: only the process that makes keys
reads it. :func:`check` is for files that start together.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from chancel.daemon.config_checks import finish
from chancel.daemon.config_directives import Draft, apply, unknown
from chancel.daemon.config_group import check, check_group, check_users
from chancel.daemon.config_lines import directives
from chancel.daemon.config_types import ControlSocket, TunnelConfig
from chancel.daemon.config_values import Refused
from chancel.errors import ConfigError

__all__ = [
    "ControlSocket",
    "TunnelConfig",
    "check",
    "check_group",
    "check_users",
    "load",
    "load_descriptor",
    "parse",
    "read",
]

MAX_FILE_BYTES = 1 << 20
"""A file that is larger is no configuration; it may come from another process."""


def load(path: Path) -> TunnelConfig:
    """Read and check the file at ``path``; raises :class:`ConfigError`."""
    return parse(read(path), str(path))


def load_descriptor(descriptor: int, name: str) -> TunnelConfig:
    """Read and check an open file, which stays open; ``name`` is for messages alone."""
    return parse(_read(name, lambda: os.dup(descriptor)), name)


def read(path: Path) -> str:
    """The text of a configuration file; raises :class:`ConfigError`."""
    return _read(str(path), lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))


def begins_with_mode(path: Path, mode: str) -> bool:
    """Whether the first directive of a file is this mode. Raises :class:`ConfigError`."""
    first = next(iter(directives(read(path), str(path))), None)
    return first is not None and (first.name, first.value) == ("mode", mode)


def parse(text: str, file: str) -> TunnelConfig:
    """Check a configuration; ``file`` is its name in messages. Raises :class:`ConfigError`."""
    draft = Draft()
    for line, name, value in directives(text, file):
        problem = unknown(name)
        if problem is not None:
            raise ConfigError(file, line, None, problem)
        draft.line = line
        try:
            apply(draft, name, value)
        except Refused as refused:
            raise ConfigError(file, line, name, str(refused)) from None
    return finish(draft, file)


def _read(name: str, open_file: Callable[[], int]) -> str:
    try:
        with open(open_file(), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(name, None, None, "not a regular file (expected a text file)")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror} (expected a configuration file)"
        raise ConfigError(name, None, None, problem) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(name, None, None, f"too large (expected at most {MAX_FILE_BYTES} bytes)")
    return data.decode(errors="surrogateescape")
