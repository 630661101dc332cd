"""System calls that the standard library lacks (before 3.12), and the error for their refusal."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from chancel.errors import ChancelError

CLONE_NEWNET = 0x4000_0000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38

_CAPABILITY_VERSION_3 = 0x2008_0522
_CAPABILITY_SETS = struct.calcsize("=6I")

_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80

_libc = ctypes.CDLL(None, use_errno=True)


class MachineError(ChancelError):
    """This machine refuses something that a tunnel needs: one sentence, with the remedy."""


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def prctl(option: int, value: int | bytes) -> None:
    """prctl(2) with one argument. Raises OSError."""
    argument = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    zero = ctypes.c_ulong(0)
    _call("prctl", ctypes.c_int(option), argument, zero, zero, zero)


def unshare(flags: int) -> None:
    """unshare(2): move into new, empty namespaces. Raises OSError."""
    _call("unshare", ctypes.c_int(flags))


def drop_capabilities() -> None:
    """Give up every capability, whoever we are. Raises OSError."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _call("capset", header, bytes(_CAPABILITY_SETS))


def watch_directory(path: Path) -> int:
    """An inotify descriptor, non-blocking, readable when a name appears there. Raises OSError."""
    watch: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if watch < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"inotify_init1: {os.strerror(code)}")
    if _libc.inotify_add_watch(watch, os.fsencode(path), _IN_CREATE | _IN_MOVED_TO) < 0:
        code = ctypes.get_errno()
        os.close(watch)
        raise OSError(code, os.strerror(code), str(path))
    return watch


@contextlib.contextmanager
def empty_network() -> Iterator[int]:
    """Be in a new network namespace for the length of a block; yields a descriptor of our own one.

    What is opened inside stays there afterwards, and keeps the new namespace alive. Raises OSError.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        try:
            yield home
        finally:
            _call("setns", ctypes.c_int(home), ctypes.c_int(CLONE_NEWNET))
    finally:
        os.close(home)
