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
_READ_FILE = 1 << 2

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


def restrict(version: int, readable: Iterable[str] = ()) -> list[str]:
    """Enter a domain without files but those in the directories ``readable``, which may be read.

    ``version`` is at least 1 and at most :func:`abi`; ``no_new_privs`` is set. Returns the
    directories that can't be opened: nothing in them can be read. Raises OSError.
    """
    rights = max(value for since, value in _FILE_RIGHTS.items() if since <= version)
    attributes = struct.pack("=Q", rights)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP_RIGHTS)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = linux.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        missing = [path for path in readable if not _allow_reading(ruleset, path)]
        linux.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return missing


def _allow_reading(ruleset: int, path: str) -> bool:
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR):
            raise
        return False
    try:
        rule = struct.pack("=Qi", _READ_FILE, directory)
        linux.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(directory)
    return True
