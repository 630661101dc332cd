"""What a socket under a transport still holds, and what systems say, differently on each."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import os
import socket
import ssl
import sys
from collections.abc import Iterator

try:
    import fcntl
    import termios
except ModuleNotFoundError:  # a system without them: it has to do that our kernel has the bytes
    HAS_OUTQ = False
else:
    HAS_OUTQ = hasattr(termios, "TIOCOUTQ")

MAX_SALVAGE_BYTES = 16 << 20
"""What is picked up from a broken socket; above what Linux buffers unless told otherwise."""

_READ_BYTES = 1 << 16
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer that vanished is noticed after two silent minutes, not after two hours."""


def prepare_tcp(shared: asyncio.trsock.TransportSocket) -> None:
    """Small messages leave at once; a peer that vanished is noticed."""
    shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            shared.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes that TCP has not seen acknowledged, the end of our direction among them.

    0 elsewhere: what was written to a Unix socket or a pipe is at the other end already. 0 also
    where the peer has reset the connection, whose count stands still then.
    """
    shared = transport.get_extra_info("socket")
    if not HAS_OUTQ or shared is None or shared.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    if shared.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return 0
    answer = fcntl.ioctl(shared.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def salvage(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """What had arrived on a socket that broke while we wrote.

    To be read within ``connection_lost``, before the transport closes its socket.
    """
    shared = transport.get_extra_info("socket")
    if shared is None:
        return
    size = 0
    with shared.dup() as same:
        same.setblocking(False)
        while size < MAX_SALVAGE_BYTES:
            try:
                data = same.recv(_READ_BYTES)
            except OSError:  # nothing there, or the very fault that broke the connection
                return
            if not data:
                return
            yield data
            size += len(data)


def in_words(error: BaseException) -> str:
    """What the system says is wrong, without the number and the arguments of the call."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):  # an OSError whose number is none of the system's
        return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
