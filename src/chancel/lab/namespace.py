"""Namespaces through the two system calls that Python 3.11 lacks, and who lives in them.

Namespaces are held as open descriptors: they live as long as one is open or a process is inside, so
there is nothing to remove after a crash. Everything here changes the calling thread's namespaces,
and the kernel refuses the user namespace to processes with threads, so only the lab's own
single-threaded helper processes call :func:`found`, :func:`create_host` and :func:`setns`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chancel.daemon.namespaces import refusal
from chancel.errors import ChancelError

CLONE_NEWUTS = 0x0400_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

SWEEP_LIMIT_S = 5.0
"""How long :func:`sweep` waits for killed processes to be gone: a system call may hold them."""

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(ChancelError):
    """The machine refuses what the lab needs, or a lab was asked for something impossible."""


@dataclass(frozen=True, slots=True)
class HostNamespaces:
    """Open descriptors of one host's network and UTS (hostname) namespaces."""

    net: int
    uts: int


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    if _libc.unshare(flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def setns(fd: int, kind: int) -> None:
    """setns(2): move this thread into the namespace of ``fd``, of the given kind. Raises
    OSError."""
    if _libc.setns(fd, kind) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _open(kind: str) -> int:
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def found() -> int | None:
    """Gain the right to make network namespaces and move into an empty one.

    Returns a descriptor of the new user namespace, or None when none was needed (root). Raises
    LabError that names the setting to change when the machine allows neither.
    """
    if os.geteuid() == 0:
        try:
            unshare(CLONE_NEWNET | CLONE_NEWUTS)
        except PermissionError:
            pass  # root of a container without CAP_SYS_ADMIN: as poor as any other user
        except OSError as error:
            raise LabError(refusal(error)) from error
        else:
            return None
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise LabError(refusal(error)) from error
    return _open("user")


def create_host(name: str) -> HostNamespaces:
    """Make the namespaces of a host called ``name``. Raises LabError when the kernel has no
    room."""
    with _returning("net", CLONE_NEWNET), _returning("uts", CLONE_NEWUTS):
        try:
            unshare(CLONE_NEWNET | CLONE_NEWUTS)
        except OSError as error:
            raise LabError(refusal(error)) from error
        socket.sethostname(name)
        return HostNamespaces(net=_open("net"), uts=_open("uts"))


@contextlib.contextmanager
def inside(net: int) -> Iterator[None]:
    """Be in the network namespace of ``net`` for the length of a block."""
    with _returning("net", CLONE_NEWNET):
        setns(net, CLONE_NEWNET)
        yield


@contextlib.contextmanager
def _returning(kind: str, flag: int) -> Iterator[None]:
    back = _open(kind)
    try:
        yield
    finally:
        setns(back, flag)
        os.close(back)


def inhabitants(hosts: list[HostNamespaces]) -> list[int]:
    """Processes other than the caller that live in one of the hosts, by either namespace.

    A process that moved to another network (the daemon's own sandbox does) is known by its hostname
    namespace. Processes the caller may not look at are not found.
    """
    fds = [fd for host in hosts for fd in (host.net, host.uts)]
    homes = {Path(f"/proc/self/fd/{fd}").readlink() for fd in fds}
    found_pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if homes & {(entry / "ns" / kind).readlink() for kind in ("net", "uts")}:
                found_pids.append(int(entry.name))
    return found_pids


def sweep(hosts: list[HostNamespaces]) -> bool:
    """Kill everything that lives in the hosts; True when nobody is left within SWEEP_LIMIT_S."""
    deadline = time.monotonic() + SWEEP_LIMIT_S
    while pids := inhabitants(hosts):
        if time.monotonic() > deadline:
            return False
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return True
