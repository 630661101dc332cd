"""Calls: each end sends 50 small packets a second, and says how old those were that it got."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Generator
from typing import TypedDict

from benchmarks.loads import pass_gate

PORT = 5203
PACKET_BYTES = 160
INTERVAL_S = 0.02
PATIENCE_S = 0.5

_STAMP = struct.Struct(">d")


class Heard(TypedDict):
    """Of one end: how many packets it sent, and the age in ms of each that came."""

    sent: int
    ages_ms: list[float]


def talk(own: str, peer: str, calls: int, seconds: float, gate: str) -> Generator[str, None, Heard]:
    """Take part in ``calls`` at once, at both ends behind the same gate."""
    padding = bytes(PACKET_BYTES - _STAMP.size)
    ages: list[float] = []
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((own, PORT))
        yield "ready"
        start_at = pass_gate(gate)
        until = start_at + seconds
        while (now := time.monotonic()) < until + PATIENCE_S:
            next_at = start_at + sent / calls * INTERVAL_S
            if next_at >= until:
                next_at = until + PATIENCE_S
            elif now >= next_at:
                for _ in range(calls):
                    sock.sendto(_STAMP.pack(time.monotonic()) + padding, (peer, PORT))
                sent += calls
                continue
            sock.settimeout(next_at - now)
            try:
                data = sock.recv(PACKET_BYTES)
            except TimeoutError:
                continue
            ages.append((time.monotonic() - _STAMP.unpack_from(data)[0]) * 1e3)
    return {"sent": sent, "ages_ms": ages}
