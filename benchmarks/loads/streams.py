"""Bulk TCP, some streams at once; nothing is looked at, so nothing is copied to the receiver.

The receiver counts for a fixed time and then breaks the streams, so what is still queued at the end
costs no time: with a slow tunnel that can be seconds.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Generator

from benchmarks.loads import pass_gate

SEND_BYTES = 256 * 1024
RECEIVE_BYTES = 4 << 20
CONNECT_LIMIT_S = 10.0
OVERTIME_S = 1.0
"""How much longer the sender goes on at most, if it never hears that the stream is broken."""
PORT = 5201

_BREAK = struct.pack("@ii", 1, 0)
"""SO_LINGER: reset the connection when it is closed, and forget what is queued."""


def receive(
    host: str, streams: int, seconds: float, gate: str = "", port: int = PORT
) -> Generator[str, None, int]:
    """The bytes that came by ``streams`` connections within ``seconds``.

    Time begins when all are connected and the gate is open.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((host, port), backlog=streams))
        server.settimeout(CONNECT_LIMIT_S)
        yield "listening"
        connections = [stack.enter_context(server.accept()[0]) for _ in range(streams)]
        until = pass_gate(gate) + seconds
        readers = [_Reader(connection, until) for connection in connections]
        for reader in readers:
            reader.join()
    return sum(reader.bytes for reader in readers)


class _Reader(threading.Thread):
    def __init__(self, connection: socket.socket, until: float) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self._until = until
        self.bytes = 0
        self.start()

    def run(self) -> None:
        never_written = bytearray(RECEIVE_BYTES)
        connection, receive = self._connection, self._connection.recv_into
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK)
        while (left := self._until - time.monotonic()) > 0:
            connection.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self.bytes += receive(never_written, RECEIVE_BYTES, socket.MSG_TRUNC)


def send(
    host: str, streams: int, seconds: float, gate: str = "", port: int = PORT
) -> Generator[str, None, None]:
    """Send as fast as it goes, until the receiver has what it wanted."""
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((host, port), CONNECT_LIMIT_S))
            for _ in range(streams)
        ]
        yield "connected"
        until = pass_gate(gate) + seconds + OVERTIME_S
        writers = [
            threading.Thread(target=_write, args=(connection, until), daemon=True)
            for connection in connections
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()


def _write(connection: socket.socket, until: float) -> None:
    data = bytes(SEND_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK)
    with contextlib.suppress(OSError):  # the receiver broke it, or it stands still
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            connection.send(data)
