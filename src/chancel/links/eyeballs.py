"""Connecting to a name that has several addresses (RFC 8305, "happy eyeballs").

asyncio has the same behind ``happy_eyeballs_delay``. It leaves sockets behind when it is cancelled
(seen with Python 3.11), and a caller's timeout is a cancellation.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Sequence
from typing import Any

HEAD_START_S = 0.25
"""How long an address has before the next one is tried beside it."""

Found = tuple[Any, Any, int, str, Any]
"""What ``getaddrinfo`` gives: family, type, protocol, canonical name, socket address."""


async def connected(host: str, port: int) -> socket.socket:
    """A TCP connection to one address of a host, the first that answers. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    places = interleaved(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    attempts: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    try:
        for number, place in enumerate(places, start=1):
            attempts.append(asyncio.create_task(_attempt(place)))
            winner = await _first(attempts, HEAD_START_S if number < len(places) else None)
            if winner is not None:
                return winner.result()
        return attempts[0].result()  # raises: none has won
    finally:
        for attempt in attempts:
            if attempt is not winner:
                attempt.add_done_callback(_discard)
                attempt.cancel()


def interleaved(found: Sequence[Found]) -> list[Found]:
    """The families in turn, the one that the system prefers first."""
    preferred = [place for place in found if place[0] == found[0][0]]
    others = [place for place in found if place[0] != found[0][0]]
    pairs = itertools.zip_longest(preferred, others)
    return [place for pair in pairs for place in pair if place is not None]


async def _first(
    attempts: list[asyncio.Task[socket.socket]], timeout_s: float | None
) -> asyncio.Task[socket.socket] | None:
    """The first attempt that succeeds; ``None`` when the newest has failed, or time is over."""
    deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
    while True:
        for attempt in attempts:
            if attempt.done() and attempt.exception() is None:
                return attempt
        waiting = [attempt for attempt in attempts if not attempt.done()]
        if not waiting or (deadline is not None and attempts[-1].done()):
            return None
        left = None if deadline is None else deadline - asyncio.get_running_loop().time()
        if left is not None and left <= 0:
            return None
        await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)


async def _attempt(place: Found) -> socket.socket:
    family, kind, protocol, _, address = place
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    """An attempt that came too late, or failed, which was looked at or doesn't matter."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
