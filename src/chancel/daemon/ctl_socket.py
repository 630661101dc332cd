"""The unix sockets on which a tunnel can be asked how it is; the guardian makes them.

``NAME.ctl`` and ``NAME.metrics`` in the runtime directory are ours: ``duties.control`` answers
there. The datagram socket of the ``control`` directive is for the tools of the reference, as its
daemon makes it.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chancel.daemon import places
from chancel.daemon.config_types import ControlSocket
from chancel.daemon.linux import MachineError

BACKLOG = 16

log = logging.getLogger("chancel.daemon")


def open_metrics(directory: Path, name: str) -> tuple[Path, socket.socket]:
    """Listen on ``NAME.metrics``, for its owner alone; the path, and the socket.

    The name is that of the group's first tunnel and stays when that leaves the group. Where another
    group began with a tunnel of that name since, ours is followed by the process id.
    """
    path = places.metrics_socket(directory, name)
    if answers(path):
        path = places.metrics_socket(directory, f"{name}.{os.getpid()}")
    return path, open_ctl(path)


def open_ctl(path: Path) -> socket.socket:
    """Listen on ``path``, for its owner alone. A dead group's socket file is taken over.

    Raises :class:`MachineError`, also when another group answers there.
    """
    if answers(path):
        raise MachineError(f"{path.stem} is already running: it answers on {path}")
    with _named(path):
        listening = _bind(path, socket.SOCK_STREAM, 0o600)
        listening.listen(BACKLOG)
    return listening


def open_status(control: ControlSocket) -> socket.socket:
    """Bind the reference's datagram socket, mode 0700, and give it to its owner.

    Raises :class:`MachineError`.
    """
    owner = pwd.getpwnam(control.owner)
    with _named(control.path):
        datagrams = _bind(control.path, socket.SOCK_DGRAM, 0o700)
        try:
            if (os.geteuid(), os.getegid()) != (owner.pw_uid, owner.pw_gid):
                _give(control.path, owner.pw_uid, owner.pw_gid)
        except OSError as error:
            datagrams.close()
            control.path.unlink()
            reason = f"can't be given to {control.owner} here ({error.strerror})"
            raise OSError(error.errno, reason) from error
    return datagrams


def remove(path: Path) -> None:
    """Unlink a socket; one that can't be is left behind, as after a crash, and told."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("socket is left behind path=%s reason=%s", path, error.strerror)


def _give(path: Path, uid: int, gid: int) -> None:
    """Change the owner of the socket at ``path``, and of nothing that was put in its place."""
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise FileExistsError(errno.EEXIST, "somebody put another file there")
        os.chown(f"/proc/self/fd/{found}", uid, gid)
    finally:
        os.close(found)


def _bind(path: Path, kind: socket.SocketKind, mode: int) -> socket.socket:
    if os.path.lexists(path):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    mask = os.umask(0o777 & ~mode)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(mask)
    return bound


def answers(path: Path) -> bool:
    """Whether somebody listens there, be it without hearing: many wait for its answer already."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knock:
        try:
            knock.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(f"control socket {path} can't be made: {error.strerror}") from error
