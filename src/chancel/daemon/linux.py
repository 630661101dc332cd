"""System calls that the standard library lacks (before 3.12), and the error for their refusal."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import struct
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from chancel.errors import ChancelError

CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 1 << 14
MS_PRIVATE = 1 << 18

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38

CAP_CHOWN = 0
CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7
CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_ADMIN = 21
SEAL_SIZE = 0x0002 | 0x0004
"""Nobody resizes the memory any more (``F_SEAL_SHRINK``, ``F_SEAL_GROW``)."""
SEAL_FUTURE_WRITE = 0x0010
"""Nobody maps the memory writable any more; mappings that exist stay."""

_F_ADD_SEALS = 1033

_CAPABILITY_VERSION_3 = 0x2008_0522
_CAPABILITY_SETS = struct.Struct("=6I")
"""Effective, permitted, inheritable; first the lower 32 of each, then the upper."""

_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

_MAP_FAILED = ctypes.c_void_p(-1).value


class MachineError(ChancelError):
    """This machine refuses something that a tunnel needs: one sentence, with the remedy."""


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def seal(memory: int, seals: int) -> None:
    """Seal a memfd that was made with ``MFD_ALLOW_SEALING``, for good. Raises OSError."""
    fcntl.fcntl(memory, _F_ADD_SEALS, seals)


def prctl(option: int, value: int | bytes) -> None:
    """prctl(2) with one argument. Raises OSError."""
    argument = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    zero = ctypes.c_ulong(0)
    _call("prctl", ctypes.c_int(option), argument, zero, zero, zero)


def unshare(flags: int) -> None:
    """unshare(2): move into new, empty namespaces. Raises OSError."""
    _call("unshare", ctypes.c_int(flags))


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """A system call that the C library has no function for. Raises OSError."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def keep_capabilities(kept: Iterable[int] = ()) -> None:
    """Give up every capability but these, of which those we have stay. Raises OSError."""
    _effective, permitted = _capabilities()
    wanted = permitted & sum(1 << each for each in kept)
    _call("capset", _capability_header(), _CAPABILITY_SETS.pack(wanted, wanted, 0, 0, 0, 0))


def has_capability(number: int) -> bool:
    """Whether it is in force for us, in our own user namespace. Raises OSError."""
    return bool(_capabilities()[0] >> number & 1)


def _capabilities() -> tuple[int, int]:
    """Those in force and those permitted; of each the lower 32, where all that we know are."""
    found = ctypes.create_string_buffer(_CAPABILITY_SETS.size)
    _call("capget", _capability_header(), found)
    effective, permitted, *_ = _CAPABILITY_SETS.unpack(found.raw)
    return effective, permitted


def _capability_header() -> bytes:
    return struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)


def map_memory(memory: int, size: int, *, writable: bool) -> memoryview:
    """Map a memory object of ``size`` bytes, shared, until the last view of it is gone.

    Without ``writable`` the mapping is made from a descriptor that is itself read-only, so that
    mprotect(2) can't turn it into another. ``mmap.mmap`` would keep a duplicate of the descriptor
    (before Python 3.13), from which the memory could be mapped again. Raises OSError.
    """
    source = memory if writable else os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    address = _libc.mmap(None, size, protection, mmap.MAP_SHARED, source, 0)
    code = ctypes.get_errno()
    if not writable:
        os.close(source)
    if address == _MAP_FAILED:
        raise OSError(code, f"mmap: {os.strerror(code)}")
    mapped = (ctypes.c_char * size).from_address(address)
    weakref.finalize(mapped, _libc.munmap, address, size).atexit = False
    view = memoryview(mapped).cast("B")
    return view if writable else view.toreadonly()


def untouched_memory(size: int) -> memoryview:
    """Memory of our own, zeros, whose pages cost nothing before they are written."""
    return memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def release_pages(address: int, size: int) -> None:
    """Unmap the pages of a mapping, which stays: madvise(2) with ``MADV_DONTNEED``. At the next
    touch they are what stands in the file, or zero. Raises OSError.
    """
    _call("madvise", address, size, mmap.MADV_DONTNEED)


def mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    arguments = (source.encode(), os.fsencode(target), kind.encode() or None)
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount: {os.strerror(code)}", str(target))


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


def setns(namespace: int, kind: int) -> None:
    """setns(2): move into an existing namespace of that ``CLONE_…`` kind. Raises OSError."""
    _call("setns", ctypes.c_int(namespace), ctypes.c_int(kind))


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
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
