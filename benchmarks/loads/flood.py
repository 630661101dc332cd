"""UDP at a fixed rate, or as fast as one process sends: one system call a packet, as an application
makes it. What arrives is only counted."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Generator
from typing import TypedDict

PORT = 5202
END = b"."
"""A datagram that says that it was all; no other is this short."""

_END_COPIES, _END_SPACING_S = 10, 0.02
_PAUSE_S = 0.0002
_BURST = 64
"""At most so many packets are sent before the clock is looked at again."""

_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 8 << 20


class Sent(TypedDict):
    """What was offered; packets that the kernel refused are among them."""

    packets: int
    seconds: float


class Received(TypedDict):
    """What arrived, from the first packet to the last."""

    packets: int
    seconds: float


def send(
    host: str, size: int, seconds: float, bits_per_s: float | None = None, port: int = PORT
) -> Sent:
    """Send packets of ``size`` bytes of UDP payload: at an even rate of payload bits, or with none
    as fast as it goes."""
    packet = bytes(size)
    per_s = None if bits_per_s is None else bits_per_s / 8 / size
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        started = now = time.monotonic()
        while now < started + seconds:
            due = _BURST
            if per_s is not None:
                due = min(int((now - started) * per_s) - sent, _BURST)
            for _ in range(due):
                with contextlib.suppress(OSError):
                    sock.send(packet)
            sent += due
            if not due:
                time.sleep(_PAUSE_S)
            now = time.monotonic()
        for _ in range(_END_COPIES):
            time.sleep(_END_SPACING_S)
            with contextlib.suppress(OSError):
                sock.send(END)
    return {"packets": sent, "seconds": now - started}


def receive(host: str, port: int = PORT, patience_s: float = 5.0) -> Generator[str, None, Received]:
    """Count until the sender's end, or until ``patience_s`` of silence."""
    head = bytearray(8)
    count, first, last = 0, 0.0, 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _make_room(sock)
        sock.bind((host, port))
        sock.settimeout(patience_s)
        take, cut = sock.recv_into, socket.MSG_TRUNC
        yield "listening"
        with contextlib.suppress(TimeoutError):
            while take(head, 8, cut) > len(END):
                last = time.monotonic()
                first = first or last
                count += 1
    return {"packets": count, "seconds": last - first}


def _make_room(sock: socket.socket) -> None:
    """The receiver must not be what loses packets; beyond the usual limit only root may go."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
