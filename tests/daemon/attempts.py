"""What a process that was taken over would try; each with the outcome that the tables state.

A ``Probe`` is a duty that tries one of them when it is told of a tunnel, sealed as any other. What
is answered it writes to the log; what kills is seen by the guardian.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chancel.daemon.process import Process
from chancel.daemon.settings import TunnelSettings

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

Attempt = Callable[[int], object]
"""Takes the pid of a sibling."""

PTRACE_ATTACH = 16
PAGE = mmap.PAGESIZE
MEMORY = LIBC.mmap(None, PAGE, mmap.PROT_READ | mmap.PROT_WRITE, 0x22, 2**64 - 1, 0)
BUFFER = ctypes.create_string_buffer(64)


def _call(name: str, *arguments: Any) -> None:
    if LIBC[name](*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _read_memory(sibling: int) -> None:
    piece = (ctypes.c_size_t * 2)(ctypes.addressof(BUFFER), 8)
    _call("process_vm_readv", sibling, piece, 1, piece, 1, 0)


REFUSED: dict[str, tuple[Attempt, type[Exception]]] = {
    "open": (lambda _: os.open("/etc/passwd", os.O_RDONLY), PermissionError),
    "open its own program": (lambda _: open(__file__).close(), PermissionError),
    "list": (lambda _: next(Path("/").iterdir()), PermissionError),
    "unlink": (lambda _: Path("/tmp/no-such-file").unlink(), PermissionError),
    "import": (lambda _: importlib.import_module("antigravity"), ModuleNotFoundError),
    "socket": (lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), PermissionError),
    "memory of a sibling": (
        lambda sibling: os.open(f"/proc/{sibling}/mem", os.O_RDONLY),
        PermissionError,
    ),
}
"""Answered with an error, of this kind."""

KILLED: dict[str, Attempt] = {
    "execve": lambda _: os.execv("/bin/true", ["true"]),
    "fork": lambda _: os.fork(),
    "kill": lambda sibling: os.kill(sibling, signal.SIGKILL),
    "ptrace": lambda sibling: _call("ptrace", PTRACE_ATTACH, sibling, None, None),
    "process_vm_readv": _read_memory,
    "mmap executable": lambda _: LIBC.mmap(None, PAGE, mmap.PROT_EXEC, 0x22, 2**64 - 1, 0),
    "mprotect executable": lambda _: LIBC.mprotect(MEMORY, PAGE, mmap.PROT_READ | mmap.PROT_EXEC),
    "mmap a descriptor": lambda _: LIBC.mmap(None, PAGE, mmap.PROT_READ, 1, 1, 0),
    "dup": lambda _: LIBC.dup(1),
    "unshare": lambda _: _call("unshare", 0x1000_0000),
    "setuid": lambda _: os.setuid(0),
    "memfd": lambda _: os.memfd_create("more"),
}
"""End the process, and so the group."""


class Probe:
    """A duty that tries something; its sibling is the process that was forked last before it."""

    def __init__(self, process: Process, attempts: dict[str, Attempt]) -> None:
        self._name = process.name
        self._attempts = attempts
        self._sibling = _siblings()[0]

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        """Now it is sealed."""
        for name, attempt in self._attempts.items():
            try:
                attempt(self._sibling)
            except Exception as error:  # noqa: BLE001 - the test looks at its kind
                outcome = type(error).__name__
            else:
                outcome = "done"
            print(f"PROBE {self._name} {name}: {outcome}", flush=True)

    def remove(self, tunnel: int) -> None:
        """Nothing to forget."""

    def wake_at(self) -> float | None:
        return None

    def wake(self, now: float) -> None:
        raise AssertionError("nothing was to be woken for")


def _siblings() -> list[int]:
    """Other children of our parent; ourselves, if there is none yet."""
    parent = os.getppid()
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and _parent(pid) == parent] or [os.getpid()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
