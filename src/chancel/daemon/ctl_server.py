"""The server's side of ``NAME.ctl``: who may speak, in lines of JSON, without holding anybody up.

Nothing here waits: a client that is slow or silent costs a place among :data:`MAX_CLIENTS` until
its time is over. A client is listened to again only when its last answer has left, so neither
direction needs a queue, and a client that doesn't wait for its answers is sent away. What the lines
mean is in ``duties.control``; the client is ``ctl``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from chancel.daemon.link import receive_descriptors
from chancel.daemon.logs import RateLimit
from chancel.daemon.loop import Loop

MAX_CLIENTS = 16
MAX_LINE_BYTES = 64 * 1024
IDLE_LIMIT_S = 10.0
"""How long a client may take to finish a line, or to read an answer."""

RETRY_S = 0.02
"""A socket that was full is tried again after this time."""

Request = dict[str, Any]

log = logging.getLogger("chancel.daemon")


class Client:
    """One connection. ``is_asking`` from its request until the answer has left."""

    def __init__(self, stream: socket.socket, now: float) -> None:
        self.stream = stream
        self.is_asking = False
        self.input = b""
        self.output = b""
        self.fds: list[int] = []
        self.deadline = now + IDLE_LIMIT_S
        self.retry_at = now

    def take_fds(self) -> list[int]:
        """The descriptors that came with the request; they are the caller's now."""
        fds, self.fds = self.fds, []
        return fds


class CtlServer:
    """All clients of all sockets of the group.

    ``serve(client, request)`` is called for each request; it calls :meth:`answer` at once or later.
    ``gone(client)`` tells that nobody waits for an answer any more.
    """

    def __init__(
        self, loop: Loop, serve: Callable[[Client, Request], None], gone: Callable[[Client], None]
    ) -> None:
        self._loop = loop
        self._serve = serve
        self._gone = gone
        self._clients: set[Client] = set()
        self._limit = RateLimit(60.0)
        self.owner = os.geteuid()
        """Who may speak, besides root."""

    def listen(self, listening: socket.socket) -> None:
        """Accept clients there from now on."""
        self._loop.add(listening, lambda: self._accept(listening))

    def ignore(self, listening: socket.socket) -> None:
        """Accept no more there; clients that came by it stay."""
        self._loop.remove(listening)

    def answer(self, client: Client, message: Request, *, last: bool = True) -> None:
        """Send a line. ``last``: afterwards the client may ask again. Gone clients are skipped."""
        if client not in self._clients:
            return
        client.output += json.dumps(message).encode() + b"\n"
        client.is_asking = not last
        client.deadline = time.monotonic() + IDLE_LIMIT_S
        self._flush(client)

    def is_behind(self, client: Client) -> bool:
        """Whether an earlier answer has not left yet."""
        return bool(client.output)

    def wake_at(self) -> float | None:
        """When :meth:`wake` is wanted, monotonic seconds."""
        retries = [client.retry_at for client in self._clients if client.output]
        limits = [client.deadline for client in self._clients if not client.is_asking]
        return min(retries + limits, default=None)

    def wake(self, now: float) -> None:
        """Retry what did not leave, drop those whose time is over."""
        for client in list(self._clients):
            if now >= client.deadline and (client.output or not client.is_asking):
                self._drop(client)
            elif client.output and now >= client.retry_at:
                self._flush(client)

    def _accept(self, listening: socket.socket) -> None:
        try:
            stream, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        stream.setblocking(False)
        uid = _uid(stream)
        if uid not in (0, self.owner) or len(self._clients) >= MAX_CLIENTS:
            now = time.monotonic()
            self._limit.log(log, logging.WARNING, uid, now, "control client refused uid=%d", uid)
            stream.close()
            return
        client = Client(stream, time.monotonic())
        self._clients.add(client)
        self._loop.add(stream, lambda: self._readable(client))

    def _readable(self, client: Client) -> None:
        if self._is_deaf(client):  # only a hang-up is heard then
            self._drop(client)
            return
        try:
            data, fds = receive_descriptors(client.stream, MAX_LINE_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        for fd in client.take_fds() if fds else ():
            os.close(fd)
        client.fds += fds
        client.input += data
        if data:
            self._take_line(client)
        else:
            self._drop(client)

    def _take_line(self, client: Client) -> None:
        """Serve a request if a whole one is there, then be deaf until it was answered."""
        line, end, rest = client.input.partition(b"\n")
        if rest or len(line) >= MAX_LINE_BYTES:  # the next request comes after the answer
            self._drop(client)
            return
        if not end:
            return
        client.input = b""
        client.is_asking = True
        self._loop.pause(client.stream)
        request = _decode_untrusted(line)
        if request is None:
            self.answer(client, {"ok": False, "error": "expected one JSON object on a line"})
        else:
            self._serve(client, request)

    def _flush(self, client: Client) -> None:
        try:
            client.output = client.output[client.stream.send(client.output) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        client.retry_at = time.monotonic() + RETRY_S
        if not self._is_deaf(client):
            self._loop.resume(client.stream)

    def _is_deaf(self, client: Client) -> bool:
        return client.is_asking or bool(client.output)

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        self._loop.remove(client.stream)
        client.stream.close()
        for fd in client.take_fds():
            os.close(fd)
        self._gone(client)


def _decode_untrusted(line: bytes) -> Request | None:
    """A request, or ``None`` for anything that is no JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(line)
        if isinstance(request, dict):
            return request
    return None


def _uid(stream: socket.socket) -> int:
    credentials = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("=3i"))
    _pid, uid, _gid = struct.unpack("=3i", credentials)
    return int(uid)
