"""Bulk TCP with a figure at the end: how fast, and whether every byte arrived.

Both ends yield a :class:`Sample` per interval, so that a caller can watch.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Generator, Iterator
from typing import TypedDict

PORT = 5201
CHUNK_BYTES = 256 * 1024
CONNECT_RETRY_S = 0.05


class Sample(TypedDict):
    """Bytes moved since the sample before, up to now (the machine's monotonic clock)."""

    at: float
    bytes: int


class BulkResult(TypedDict):
    """The whole transfer. ``sha256`` (hexadecimal) is None unless it was asked for."""

    bytes: int
    seconds: float
    sha256: str | None


def receive(
    host: str, port: int = PORT, digest: bool = False, interval_s: float = 0.25
) -> Generator[Sample, None, BulkResult]:
    """Accept one connection and read it to its end; a first sample of 0 bytes says "listening"."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        yield {"at": time.monotonic(), "bytes": 0}
        connection, _ = server.accept()
    with connection:
        chunks = _received(connection)
        return (yield from _measure(chunks, digest, interval_s))


def send(
    host: str,
    port: int = PORT,
    seconds: float | None = None,
    total_bytes: int | None = None,
    digest: bool = False,
    interval_s: float = 0.25,
    connect_timeout_s: float = 10.0,
) -> Generator[Sample, None, BulkResult]:
    """Send until ``seconds`` or ``total_bytes`` are reached, whichever is given (or comes first).

    Data is random but repeats itself. Retries until the receiver listens. Raises ConnectionError or
    TimeoutError when it never does or the connection breaks.
    """
    with _connected(host, port, connect_timeout_s) as connection:
        chunks = _sent(connection, seconds, total_bytes)
        result = yield from _measure(chunks, digest, interval_s)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the receiver closes when it has read all
    return result


def _connected(host: str, port: int, timeout_s: float) -> socket.socket:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection = socket.create_connection((host, port), timeout_s)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(CONNECT_RETRY_S)
        else:
            connection.settimeout(None)
            return connection


def _received(connection: socket.socket) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while size := connection.recv_into(buffer):
        yield buffer[:size]


def _sent(
    connection: socket.socket, seconds: float | None, total_bytes: int | None
) -> Iterator[memoryview]:
    data = memoryview(os.urandom(CHUNK_BYTES))
    stop_at = None if seconds is None else time.monotonic() + seconds
    sent = 0
    while stop_at is None or time.monotonic() < stop_at:
        wanted = data if total_bytes is None else data[: total_bytes - sent]
        if not wanted:
            return
        size = connection.send(wanted)
        sent += size
        yield wanted[:size]


def _measure(
    chunks: Iterator[memoryview], digest: bool, interval_s: float
) -> Generator[Sample, None, BulkResult]:
    hasher = hashlib.sha256() if digest else None
    total = reported = 0
    start = end = time.monotonic()
    next_at = start + interval_s
    for chunk in chunks:
        end = time.monotonic()
        if end >= next_at:
            yield {"at": end, "bytes": total - reported}
            reported, next_at = total, end + interval_s
        total += len(chunk)
        if hasher is not None:
            hasher.update(chunk)
    yield {"at": end, "bytes": total - reported}
    return {
        "bytes": total,
        "seconds": max(end - start, 1e-9),
        "sha256": None if hasher is None else hasher.hexdigest(),
    }
