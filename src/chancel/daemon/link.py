"""A link: small messages between two processes, with descriptors where needed.

Keys travel chapel → bless and chapel → confess on links that nobody else has; the guardian has one
to each of its children. A message is a JSON object or, for keys, the binary form of
``chancel.protocol.messages`` behind a be16 tunnel index.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from chancel.daemon.lies import NeighbourLied
from chancel.errors import LinkClosed
from chancel.protocol.messages import Command, decode, encode

MAX_MESSAGE_BYTES = 160 * 1024
"""The settings of a tunnel with the longest paths and as many networks as there may be."""

MAX_DESCRIPTORS = 4

_MAX_COMMAND_BYTES = 512

_TUNNEL = struct.Struct("!H")

# As plain integers: combining flags of an enum costs more than the call they are for.
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_DONTWAIT = int(socket.MSG_DONTWAIT)


def make_link() -> tuple[socket.socket, socket.socket]:
    """A SEQPACKET socket pair: message boundaries kept, order kept, end of file when one dies."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def receive_descriptors(
    end: socket.socket, size: int, limit: int, flags: int = 0
) -> tuple[bytes, list[int]]:
    """recvmsg(2) with up to ``limit`` descriptors, not inheritable. Raises OSError.

    ``socket.recv_fds`` ignores its flags in Python 3.11.
    """
    fds = array.array("i")
    data, ancillary, _flags, _address = end.recvmsg(
        size, socket.CMSG_LEN(limit * fds.itemsize), flags | _CLOEXEC
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def _receive(end: socket.socket, size: int, blocking: bool) -> tuple[bytes, list[int]] | None:
    """One message and its descriptors; ``None`` when nothing waits and ``blocking`` is false."""
    flags = 0 if blocking else _DONTWAIT
    try:
        data, fds = receive_descriptors(end, size, MAX_DESCRIPTORS, flags)
    except BlockingIOError:
        return None
    except ConnectionResetError as error:
        raise LinkClosed("the other end of a link is gone") from error
    if not data:
        for fd in fds:
            os.close(fd)
        raise LinkClosed("the other end of a link is gone")
    return data, fds


def _send(end: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    try:
        if fds:
            socket.send_fds(end, [data], fds)
        else:
            end.send(data)
    except BlockingIOError as error:  # the guardian waits for nobody
        raise LinkClosed("the other end of a link does not listen") from error
    except (BrokenPipeError, ConnectionResetError) as error:
        raise LinkClosed("the other end of a link is gone") from error


class MessageLink:
    """JSON objects with descriptors, both ways: the guardian and one of its children."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """Readable when a message waits (or the other end is gone)."""
        return self._end.fileno()

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one message; descriptors are duplicated to the receiver."""
        _send(self._end, json.dumps(message).encode(), fds)

    def receive(self, *, blocking: bool = False) -> tuple[dict[str, Any], list[int]] | None:
        """Return the next message and the descriptors that came with it, which are now ours.

        Raises ``LinkClosed``, and :class:`NeighbourLied` for what is no JSON object.
        """
        received = _receive(self._end, MAX_MESSAGE_BYTES, blocking)
        if received is None:
            return None
        message = _decode(received[0])
        if message is None:
            for fd in received[1]:
                os.close(fd)
            raise NeighbourLied("a message on a link is no JSON object")
        return message, received[1]

    def close(self) -> None:
        """Close this end."""
        self._end.close()


def _decode(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data.decode())  # bytes might be UTF-32, which would be imported
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


class KeyLink:
    """Key commands, one way: chapel to bless, or chapel to confess."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """Readable when a command waits (or chapel is gone)."""
        return self._end.fileno()

    def send(self, tunnel: int, command: Command) -> None:
        """Send a command for one tunnel."""
        _send(self._end, _TUNNEL.pack(tunnel) + encode(command))

    def receive(self) -> tuple[int, Command] | None:
        """Return the tunnel's index and the command, or ``None`` when nothing waits.

        Raises ``LinkClosed``, and :class:`NeighbourLied` for what is no command.
        """
        try:
            message = self._end.recv(_MAX_COMMAND_BYTES, _DONTWAIT)  # the kernel drops descriptors
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise LinkClosed("the other end of a link is gone") from error
        if not message:
            raise LinkClosed("the other end of a link is gone")
        try:
            (tunnel,) = _TUNNEL.unpack_from(message)
            return tunnel, decode(message[_TUNNEL.size :])
        except (ValueError, struct.error) as error:
            raise NeighbourLied("a message on a key link is no key command") from error
