"""UDP at a fixed rate, numbered, so that the receiver can tell what was lost or came out of
order."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Generator
from typing import TypedDict

PORT = 5202

_NUMBER = struct.Struct(">Q")
_END = 2**64 - 1
_END_COPIES = 20
_END_SPACING_S = 0.02
_LONGEST_SLEEP_S = 0.001
_SOCKET_BUFFER = 4 << 20


class Sent(TypedDict):
    """What the sender did."""

    packets: int
    seconds: float
    refused: int
    """Packets that its own kernel would not take."""


class Received(TypedDict):
    """What the receiver saw."""

    packets: int
    duplicates: int
    reordered: int
    """Packets with a number below one that came before."""
    highest: int
    """The highest number seen, counted from 0; -1 for none."""
    seconds: float
    """From the first packet to the last."""


def send(
    host: str, port: int = PORT, count: int = 1000, size: int = 1300, rate_pps: float = 1000.0
) -> Sent:
    """Send ``count`` packets of ``size`` bytes (8 at least), evenly; then say that it was all."""
    padding = bytes(size - _NUMBER.size)
    refused = 0
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        start = time.monotonic()
        for number in range(count):
            while (ahead := start + number / rate_pps - time.monotonic()) > 0:
                time.sleep(min(ahead, _LONGEST_SLEEP_S))
            try:
                sock.sendto(_NUMBER.pack(number) + padding, (host, port))
            except OSError:
                refused += 1
        seconds = time.monotonic() - start
        _say_end(sock, host, port)
    return {"packets": count, "seconds": seconds, "refused": refused}


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _say_end(sock: socket.socket, host: str, port: int) -> None:
    """Many times, since a wire that loses packets loses this one too."""
    for _ in range(_END_COPIES):
        time.sleep(_END_SPACING_S)
        try:
            sock.sendto(_NUMBER.pack(_END), (host, port))
        except OSError:
            continue  # no route now; the receiver's own patience ends


def receive(host: str, port: int = PORT, patience_s: float = 5.0) -> Generator[str, None, Received]:
    """Count packets until the sender's end or ``patience_s`` of silence; yields once, listening."""
    seen: set[int] = set()
    duplicates = reordered = 0
    highest = -1
    first = last = 0.0
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        sock.bind((host, port))
        sock.settimeout(patience_s)
        yield "listening"
        while True:
            try:
                data = sock.recv(65535)
            except TimeoutError:
                break
            if len(data) < _NUMBER.size:
                continue
            (number,) = _NUMBER.unpack_from(data)
            if number == _END:
                break
            last = time.monotonic()
            first = first or last
            if number in seen:
                duplicates += 1
                continue
            seen.add(number)
            reordered += number < highest
            highest = max(highest, number)
    return {
        "packets": len(seen),
        "duplicates": duplicates,
        "reordered": reordered,
        "highest": highest,
        "seconds": last - first,
    }
