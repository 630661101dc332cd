"""Streams of random data inside a host of the lab, and their sums: see ``tests.e2e.inside``.

All streams of a transfer run in one process each end. No part of a stream is like another, so
nothing that was lost, repeated or put elsewhere has the right sum.
"""

from __future__ import annotations

import hashlib
import selectors
import socket
import time
from collections.abc import Generator

import numpy as np

PORT = 5400
CHUNK_BYTES = 256 * 1024
TOLD_S = 1.0
_CONNECT_LIMIT_S = 30.0


def send(host: str, sizes: list[int], seed: int, least_s: float) -> Generator[int, None, list[str]]:
    """Send so many bytes on a connection each, all at once; their SHA-256 sums.

    It takes ``least_s`` at least, evenly. Yields how many bytes were sent so far, about once a
    second.
    """
    fastest = sum(sizes) / least_s
    with selectors.DefaultSelector() as selector:
        streams = [_Sending(host, size, seed + i) for i, size in enumerate(sizes)]
        for stream in streams:
            selector.register(stream.socket, selectors.EVENT_WRITE, stream)
        started, next_at = time.monotonic(), 0.0
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.write():
                    selector.unregister(key.fileobj)
            sent, now = sum(stream.sent for stream in streams), time.monotonic()
            if now >= next_at:
                yield sent
                next_at = now + TOLD_S
            time.sleep(max(0.0, started + sent / fastest - now))
        for stream in streams:
            stream.finish()
    return [stream.digest.hexdigest() for stream in streams]


class _Sending:
    def __init__(self, host: str, size: int, seed: int) -> None:
        self.socket = _connected(host)
        self.digest = hashlib.sha256()
        self.sent = 0
        self._left = size
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self._waiting = memoryview(b"")

    def write(self) -> bool:
        """Send what there is room for; whether more is to come."""
        if not self._waiting:
            chunk = self._rng.bytes(min(CHUNK_BYTES, self._left))
            self._left -= len(chunk)
            self.digest.update(chunk)
            self._waiting = memoryview(chunk)
        size = self.socket.send(self._waiting)
        self.sent += size
        self._waiting = self._waiting[size:]
        return bool(self._waiting or self._left)

    def finish(self) -> None:
        """Wait until the receiver has read everything."""
        self.socket.setblocking(True)
        self.socket.shutdown(socket.SHUT_WR)
        self.socket.recv(1)
        self.socket.close()


def _connected(host: str) -> socket.socket:
    connection = socket.create_connection((host, PORT), _CONNECT_LIMIT_S)
    connection.setblocking(False)
    return connection


def receive(host: str, count: int) -> Generator[int, None, list[str]]:
    """The sums of what comes on so many connections, in the order in which they were made.

    Yields once, listening, and then how many bytes came so far, about once a second.
    """
    streams: list[_Receiving] = []
    with socket.create_server((host, PORT), backlog=count) as server:
        yield 0
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                stream = _Receiving(server.accept()[0])
                selector.register(stream.socket, selectors.EVENT_READ, stream)
                streams.append(stream)
            next_at = 0.0
            while selector.get_map():
                for key, _ in selector.select():
                    if not key.data.read():
                        selector.unregister(key.fileobj)
                        key.data.socket.close()
                if (now := time.monotonic()) >= next_at:
                    yield sum(stream.received for stream in streams)
                    next_at = now + TOLD_S
    return [stream.digest.hexdigest() for stream in streams]


class _Receiving:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.digest = hashlib.sha256()
        self.received = 0
        self._buffer = memoryview(bytearray(CHUNK_BYTES))

    def read(self) -> bool:
        """Take what has come; whether it may go on."""
        size = self.socket.recv_into(self._buffer)
        self.digest.update(self._buffer[:size])
        self.received += size
        return size > 0
