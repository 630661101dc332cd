"""Landlock: a process gives up files, TCP, and signals to others, by itself and without root.

A domain can only be narrowed, never left. It also keeps siblings apart that have one user: nobody
may trace, or read the memory of, a process outside of its own domain. What the kernel is too old
for is left out, and :func:`abi` tells how much there is. UDP isn't covered by any version.

Source: ``linux/landlock.h`` and the kernel's ``userspace-api/landlock``.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable

from chancel.daemon import linux

# Of the same number on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446

_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_REMOVE_FILE = 1 << 5
_MAKE_REGULAR = 1 << 8
_REPLACING = _WRITE_FILE | _READ_FILE | _REMOVE_FILE | _MAKE_REGULAR
"""What it takes to write a file and rename it over another one beside it."""

_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
"""All that a version can take away of the file system; those between add nothing."""
_TCP_RIGHTS = 0x3
"""Binding and connecting, since version 4."""
_SCOPES = 0x3
"""Abstract unix sockets and signals, since version 6."""


def abi() -> int:
    """The version that this kernel has; 0 for none (too old, or not switched on)."""
    try:
        return linux.syscall(_CREATE_RULESET, None, 0, _RULESET_VERSION)
    except OSError:
        return 0


def restrict(
    version: int,
    readable: Iterable[str] = (),
    replaceable: Iterable[str] = (),
    *,
    tcp: bool = False,
) -> list[str]:
    """Enter a domain without files but those in the directories ``readable``, which may be read,
    and those in ``replaceable``, which may be replaced, too. A file may stand for itself.

    ``tcp`` may be kept. ``version`` is at least 1 and at most :func:`abi`; ``no_new_privs`` is set.
    Returns the directories that can't be opened: nothing in them can be read. Raises OSError.
    """
    rights = max(value for since, value in _FILE_RIGHTS.items() if since <= version)
    attributes = struct.pack("=Q", rights)
    if version >= 4:
        attributes += struct.pack("=Q", 0 if tcp else _TCP_RIGHTS)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = linux.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        allowed = [(path, _READ_FILE) for path in readable]
        allowed += [(path, _REPLACING) for path in replaceable]
        missing = [path for path, rights in allowed if not _allow(ruleset, path, rights)]
        linux.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return missing


def _allow(ruleset: int, path: str, rights: int) -> bool:
    try:
        directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR):
            raise
        return False
    try:
        rule = struct.pack("=Qi", rights, directory)
        linux.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(directory)
    return True
