"""What the groups of a runtime directory answer, all asked once.

A group whose processes are stopped (SIGSTOP, a debugger) takes connections and says nothing, on the
socket of each of its tunnels. It is waited for once, whatever number of sockets it has: the kernel
knows who listens at the other end of a connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
from pathlib import Path

from chancel.daemon import ctl, places
from chancel.errors import LinkClosed

_CREDENTIALS = struct.Struct("=iII")


@dataclasses.dataclass(frozen=True, slots=True)
class Census:
    """``stopped`` has, by instance, a sentence for each tunnel whose group takes no notice."""

    survey: ctl.Survey
    stopped: dict[str, str]


def take(directory: Path) -> Census:
    """Ask every group. Raises :class:`ConfigError` for a directory that isn't ours."""
    groups: list[ctl.Group] = []
    silent: list[str] = []
    stopped: dict[str, str] = {}
    listeners: set[int] = set()
    for path in places.control_sockets(directory):
        name = path.name.removesuffix(places.CONTROL_SUFFIX)
        if any(group.knows(name) for group in groups):
            continue
        if listeners and _listener(path) in listeners:
            stopped[name] = f"{name} does not answer; its processes may be stopped"
            silent.append(stopped[name])
            continue
        try:
            found = status(path)
        except LinkClosed as closed:
            silent.append(str(closed))
            if is_stopped(closed):
                stopped[name] = str(closed)
                listeners |= {pid for pid in (_listener(path),) if pid is not None}
            continue
        if all(found.pid != group.pid for group in groups):  # a tunnel may be joining right now
            groups.append(found)
    return Census(ctl.Survey(directory, tuple(groups), tuple(silent)), stopped)


def status(path: Path) -> ctl.Group:
    """The group that answers on a socket. Raises :class:`LinkClosed` when nobody does."""
    return ctl.Group(path, ctl.ask(path, {"do": "status"}))


def is_stopped(closed: LinkClosed) -> bool:
    """Whether somebody is there who didn't answer, rather than nobody."""
    return isinstance(closed.__cause__, TimeoutError | BlockingIOError)


def _listener(path: Path) -> int | None:
    """Whose socket it is; ``None`` if that can't be told (any more)."""
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knock:
            knock.connect(str(path))
            packed = knock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(packed)[0]
        return pid or None  # 0: of a namespace that we don't see
    return None
