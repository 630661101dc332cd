"""Load inside a host of the lab: see ``inside``."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Generator
from typing import TypedDict

PORT = 5310
TICK_S = 0.001
MOST_AT_ONCE = 256
"""Trains; what was missed while the machine was busy is not made up for beyond this."""

_BUFFER_BYTES = 4 << 20
_UDP_SEGMENT = 103


class Offered(TypedDict):
    """What a sender did."""

    packets: int
    seconds: float


def offer(
    host: str, size: int, train: int, rate_pps: float, seconds: float, cpus: list[int]
) -> Offered:
    """Send packets of ``size`` bytes evenly in trains, whatever becomes of them.

    A train costs the sender one call, and the kernel cuts it or leaves that to the device: so who
    offers more than a tunnel can take need not take the processors away that it runs on.
    """
    os.sched_setaffinity(0, cpus)
    data = bytes(size * train)
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        sock.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, size)
        sock.connect((host, PORT))
        start = last = now = time.monotonic()
        due = 0.0
        while now < start + seconds:
            due = min(due + (now - last) * rate_pps / train, MOST_AT_ONCE)
            last = now
            for _ in range(int(due)):
                with contextlib.suppress(OSError):  # the kernel's queue is full
                    sock.send(data)
                    sent += train
            due -= int(due)
            if (time.monotonic() - last) * rate_pps < train:
                time.sleep(TICK_S)
            now = time.monotonic()
    return {"packets": sent, "seconds": now - start}


def hold(host: str) -> Generator[str, None, None]:
    """Be a socket that nobody reads, until killed: datagrams end in it, at no cost but the
    kernel's. Yields once, bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, PORT))
        yield "bound"
        while True:
            time.sleep(3600)
