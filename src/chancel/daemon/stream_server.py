"""Serving the machine's own users on unix stream sockets without waiting for any of them.

Who may speak (the owner of the group, and root), how many, how much and how often. A client that is
slow or silent costs a place among :data:`MAX_CLIENTS` until its time is over; one that asks too
often is sent away. A client is listened to again only when its last answer has left, so neither
direction needs a queue. What the bytes mean is for the heirs: ``ctl_server``, ``metrics_server``.
"""

from __future__ import annotations

import abc
import logging
import os
import socket
import struct
import time

from chancel.daemon.allowance import Allowance
from chancel.daemon.link import receive_descriptors
from chancel.daemon.logs import RateLimit
from chancel.daemon.loop import Loop

MAX_CLIENTS = 16
IDLE_LIMIT_S = 10.0
"""How long a client may take to finish a request, or to read an answer."""

RETRY_S = 0.02
"""A socket that was full is tried again after this time."""

CLIENT_REQUESTS_PER_S, CLIENT_BURST = 50.0, 100.0
TOTAL_REQUESTS_PER_S, TOTAL_BURST = 200.0, 400.0
"""A program that polls without a pause stays below; all clients together can't keep us busy."""

_CREDENTIALS = struct.Struct("=3i")

log = logging.getLogger("chancel.daemon")


class Client:
    """One connection. ``is_asking`` from its request until the answer has left."""

    def __init__(self, stream: socket.socket, now: float) -> None:
        self.stream = stream
        self.is_asking = False
        self.input = b""
        self.output = b""
        self.output_fds: list[int] = []
        self.fds: list[int] = []
        self.allowance = Allowance(CLIENT_REQUESTS_PER_S, CLIENT_BURST)
        self.deadline = now + IDLE_LIMIT_S
        self.retry_at = now

    def take_fds(self) -> list[int]:
        """The descriptors that came with the request; they are the caller's now."""
        fds, self.fds = self.fds, []
        return fds


class StreamServer(abc.ABC):
    """All clients of some listening sockets."""

    max_request_bytes: int

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._clients: set[Client] = set()
        self._limit = RateLimit(60.0)
        self._allowance = Allowance(TOTAL_REQUESTS_PER_S, TOTAL_BURST)
        self.owner = os.geteuid()
        """Who may speak, besides root."""

    def listen(self, listening: socket.socket) -> None:
        """Accept clients there from now on."""
        self._loop.add(listening, lambda: self._accept(listening))

    def ignore(self, listening: socket.socket) -> None:
        """Accept no more there; clients that came by it stay."""
        self._loop.remove(listening)

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

    @abc.abstractmethod
    def _take(self, client: Client) -> None:
        """More of a client's request has come, to the end of ``client.input``."""

    @abc.abstractmethod
    def _gone(self, client: Client) -> None:
        """A client is gone: nobody waits for an answer any more."""

    def _may_ask(self, client: Client) -> bool:
        """Count a request; False if it is one too many."""
        now = time.monotonic()
        return client.allowance.take(now) and self._allowance.take(now)

    def _send(self, client: Client, data: bytes) -> None:
        """Begin to send; the client is deaf to us until it has taken all."""
        client.output += data
        client.deadline = time.monotonic() + IDLE_LIMIT_S
        self._flush(client)

    def _sent(self, client: Client) -> None:
        """All output has left: listen again, unless more is to come."""
        if not client.is_asking:
            self._loop.resume(client.stream)

    def _drop(self, client: Client) -> None:
        if client not in self._clients:
            return
        self._clients.discard(client)
        self._loop.remove(client.stream)
        client.stream.close()
        for fd in client.take_fds() + client.output_fds:
            os.close(fd)
        self._gone(client)

    def _accept(self, listening: socket.socket) -> None:
        try:
            stream, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        stream.setblocking(False)
        uid = _uid(stream)
        now = time.monotonic()
        if uid not in (0, self.owner) or len(self._clients) >= MAX_CLIENTS:
            self._limit.log(log, logging.WARNING, uid, now, "control client refused uid=%d", uid)
            stream.close()
            return
        client = Client(stream, now)
        self._clients.add(client)
        self._loop.add(stream, lambda: self._readable(client))

    def _readable(self, client: Client) -> None:
        if client.is_asking or client.output:  # deaf: only a hang-up is heard then
            self._drop(client)
            return
        try:
            data, fds = receive_descriptors(client.stream, self.max_request_bytes, 1)
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
            self._take(client)
        else:
            self._drop(client)

    def _flush(self, client: Client) -> None:
        fds = client.output_fds
        try:
            if fds:
                sent = socket.send_fds(client.stream, [client.output], fds)
            else:
                sent = client.stream.send(client.output)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent and fds:
            client.output_fds = []
            for fd in fds:
                os.close(fd)
        client.output = client.output[sent:]
        client.retry_at = time.monotonic() + RETRY_S
        if not client.output:
            self._sent(client)


def _uid(stream: socket.socket) -> int:
    credentials = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(credentials)
    return int(uid)
