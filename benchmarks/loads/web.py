"""Short TCP transfers, one after the other as a browser makes them: connect, ask, read, close."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Generator
from typing import TypedDict

from benchmarks.loads import pass_gate

PORT = 5204
SIZES = (2_000, 15_000, 60_000, 8_000, 250_000, 30_000)
"""Bytes of the answers, in turns."""
THINK_S = 0.01
OVERTIME_S = 0.5

_QUESTION = struct.Struct(">Q")
_CHUNK = 64 * 1024


class Browsed(TypedDict):
    """What was fetched until the end; a transfer under way counts with its bytes alone."""

    transfers: int
    bytes: int


def serve(host: str, users: int, seconds: float, gate: str) -> Generator[str, None, None]:
    """Answer ``users`` at once until a while after the end."""
    with socket.create_server((host, PORT), backlog=users) as server:
        yield "listening"
        until = pass_gate(gate) + seconds + OVERTIME_S
        threads = [
            threading.Thread(target=_answer, args=(server, until), daemon=True)
            for _ in range(users)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _answer(server: socket.socket, until: float) -> None:
    data = bytes(max(SIZES))
    server.settimeout(0.1)
    while time.monotonic() < until:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(max(0.1, until - time.monotonic()))
            try:
                (size,) = _QUESTION.unpack(connection.recv(_QUESTION.size))
                connection.sendall(memoryview(data)[:size])
            except OSError:  # the user has gone: it was the end
                continue


def browse(host: str, users: int, seconds: float, gate: str) -> Generator[str, None, Browsed]:
    """Be ``users`` who fetch pages, each after a pause."""
    yield "ready"
    until = pass_gate(gate) + seconds
    people = [_User(host, until) for _ in range(users)]
    for user in people:
        user.join()
    return {
        "transfers": sum(user.transfers for user in people),
        "bytes": sum(user.bytes for user in people),
    }


class _User(threading.Thread):
    def __init__(self, host: str, until: float) -> None:
        super().__init__(daemon=True)
        self._host, self._until = host, until
        self._buffer = bytearray(_CHUNK)
        self.transfers = self.bytes = 0
        self.start()

    def run(self) -> None:
        for size in itertools.cycle(SIZES):
            if time.monotonic() >= self._until:
                return
            self.transfers += self._fetch(size)
            time.sleep(THINK_S)

    def _fetch(self, size: int) -> bool:
        """Whether all of it came before the end."""
        try:
            with socket.create_connection((self._host, PORT), self._left_s()) as connection:
                connection.sendall(_QUESTION.pack(size))
                while size > 0:
                    connection.settimeout(self._left_s())
                    got = connection.recv_into(self._buffer)
                    self.bytes += got
                    size -= got
        except TimeoutError:
            return False
        return True

    def _left_s(self) -> float:
        """Raises TimeoutError when there is none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
