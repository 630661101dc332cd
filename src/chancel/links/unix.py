"""Unix stream sockets: a reliable link to another process of this machine, by a path."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from chancel.errors import LocalProtocolError
from chancel.links.calls import BACKLOG, StreamListener, call, opened
from chancel.links.framing import Framer, LengthPrefix
from chancel.links.sockets import in_words
from chancel.links.stream import StreamLink

MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""What fits into the kernel's address, with a zero behind it."""

MODE = 0o600
"""The socket file is for its owner: whoever may write it may call."""


async def connect(
    path: str | os.PathLike[str],
    *,
    framer: Callable[[], Framer] = LengthPrefix,
    retries: int = 0,
    interval_s: float = 1.0,
) -> StreamLink:
    """Connect to the socket at ``path``; retries as in :func:`chancel.links.tcp.connect`."""
    name = _checked(path)

    async def attempt() -> StreamLink:
        calling = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            calling.setblocking(False)
            calling.connect(name)  # at once, or not: asyncio takes a full queue for a connection
        except BaseException:
            calling.close()
            raise
        _, link = await asyncio.get_running_loop().create_unix_connection(
            lambda: StreamLink(lambda _: f"unix://{name}", framer()), sock=calling
        )
        return await opened(link)

    return await call(f"unix://{name}", attempt, retries, interval_s)


async def listen(
    path: str | os.PathLike[str], *, framer: Callable[[], Framer] = LengthPrefix
) -> StreamListener:
    """Listen at ``path``, which gets mode 0600 and is removed when the listener closes.

    A socket that is there is replaced if nobody listens on it. Raises ``LocalProtocolError`` if
    somebody does, if the path is something else, or where it can't be made.
    """
    name = _checked(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        _remove_stale(Path(name))
        listening.bind(name)
        # Between these two nobody can call, so nobody sees another mode.
        Path(name).chmod(MODE)
        listening.listen(BACKLOG)
        ours = Path(name).stat()
    except OSError as error:
        listening.close()
        raise LocalProtocolError(
            f"unix://{name} can't be listened on: {in_words(error)}; choose another path"
        ) from error
    except LocalProtocolError:
        listening.close()
        raise
    return StreamListener(
        f"unix://{name}",
        [listening],
        lambda: StreamLink(lambda _: f"unix://{name}", framer()),
        lambda: _remove_ours(Path(name), ours),
    )


def _checked(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not hasattr(socket, "AF_UNIX"):
        raise LocalProtocolError("this system has no Unix sockets: use tcp://127.0.0.1:PORT")
    size = len(os.fsencode(name))
    if not 0 < size <= MAX_PATH_BYTES or "\0" in name:
        raise LocalProtocolError(
            f"a socket path has 1 to {MAX_PATH_BYTES} bytes and no zero, this one {size}: {name!r}"
        )
    return name


def _remove_stale(path: Path) -> None:
    """Remove a socket that a dead process left. Raises ``LocalProtocolError`` for anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise LocalProtocolError(f"{path} is there and no socket: choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except BlockingIOError:  # somebody listens, and has his hands full
            raise LocalProtocolError(_in_use(path)) from None
        else:
            raise LocalProtocolError(_in_use(path))


def _in_use(path: Path) -> str:
    return f"somebody listens on {path} already: end that program, or choose another path"


def _remove_ours(path: Path, ours: os.stat_result) -> None:
    """Remove the socket file, unless another one has taken its place."""
    try:
        now = path.lstat()
        if (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino):
            path.unlink()
    except OSError:  # gone already, or the folder is not ours any more; it is stale either way
        return
