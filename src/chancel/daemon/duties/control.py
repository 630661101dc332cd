"""control: answers those who ask how the tunnels are.

In: unix sockets of the machine's own users (``NAME.ctl``, ``NAME.metrics`` and, where a file has a
``control`` line, the datagram socket of the reference's tools), and all boards, read-only. Out:
answers, and requests to the guardian to add or to remove a tunnel or to trace the group. It has no
lane and no key.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from chancel.daemon.allowance import Allowance
from chancel.daemon.ctl_server import CtlServer, Request
from chancel.daemon.logs import RateLimit
from chancel.daemon.metrics import exposition
from chancel.daemon.metrics_server import MetricsServer
from chancel.daemon.process import Process
from chancel.daemon.publish import earliest
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.status import StatusBook
from chancel.daemon.stream_server import MAX_CLIENTS, Client
from chancel.errors import LocalProtocolError

STATUS_COMMAND = 1
"""The only request of the reference's tools: one byte."""

DATAGRAMS_PER_S, DATAGRAM_BURST = 50.0, 100.0
"""Requests of the reference's tools that are answered; more are read and forgotten."""

WATCH_INTERVAL_S = (0.5, 3600.0)
"""Shortest and longest interval a client may watch with."""

MAX_REQUESTS = MAX_CLIENTS
"""Under way to the guardian at once, those of clients included that went away meanwhile."""

MAX_NAME_CHARS = 4096
"""Of a file or a tunnel: no path is longer, and the guardian's answer, which repeats it, fits a
message."""

log = logging.getLogger("chancel.daemon")


class Book(Protocol):
    """What control knows of what the group carries; ``status.StatusBook`` is that of tunnels."""

    group: dict[str, Any]

    def add(self, tunnel: int, settings: Any, about: dict[str, Any]) -> None:
        """Know one more; ``about`` has what only the guardian knows of it."""
        ...

    def remove(self, tunnel: int) -> None:
        """Forget one."""
        ...

    def ready_at(self, now: float) -> float:
        """When rates can be told."""
        ...

    def status(self, now: float, own_wakeups: int = 0) -> dict[str, Any]:
        """The answer to a status request."""
        ...

    def datagram(self, tunnel: int) -> bytes:
        """The answer to the reference's tools."""
        ...


class Control:
    """The duty of control. ``expose`` makes metrics of a status answer."""

    def __init__(
        self,
        process: Process,
        book: Book | None = None,
        expose: Callable[[dict[str, Any]], bytes] = exposition,
    ) -> None:
        self._loop = process.loop
        self._guardian = process.guardian
        now = time.monotonic()
        self._book: Book = StatusBook(process.boards, now) if book is None else book
        self._exposition = expose
        self._about: dict[int, dict[str, Any]] = {}
        self._sockets: dict[int, list[socket.socket]] = {}
        self._server = CtlServer(process.loop, self._serve, self._gone)
        self._metrics = MetricsServer(process.loop, self._expose)
        self._datagrams = Allowance(DATAGRAMS_PER_S, DATAGRAM_BURST)
        self._due: dict[Client, float] = {}
        self._watching: dict[Client, float] = {}
        self._asked: dict[int, Client] = {}
        self._requests = 0
        self._limit = RateLimit(60.0)
        process.hear = self._hear

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        self._book.add(tunnel, settings, self._about.pop(tunnel))
        listening, *datagrams = self._sockets[tunnel] = [socket.socket(fileno=fd) for fd in fds]
        self._server.listen(listening)
        for end in datagrams:
            self._loop.add(end, partial(self._answer_datagram, tunnel, end))

    def remove(self, tunnel: int) -> None:
        listening, *datagrams = ends = self._sockets.pop(tunnel)
        self._server.ignore(listening)
        for end in datagrams:
            self._loop.remove(end)
        for end in ends:
            end.close()
        self._book.remove(tunnel)

    def wake_at(self) -> float | None:
        return earliest(self._server.wake_at(), self._metrics.wake_at(), *self._due.values())

    def wake(self, now: float) -> None:
        self._server.wake(now)
        self._metrics.wake(now)
        for client in [client for client, due in self._due.items() if due <= now]:
            self._tell_status(client, now)

    def _hear(self, message: dict[str, Any], fds: list[int]) -> None:
        """What the guardian says besides orders."""
        match message:
            case {"group": group, "uid": uid}:
                self._book.group = group
                self._server.owner = self._metrics.owner = uid
                self._metrics.listen(socket.socket(fileno=fds[0]))
            case {"tunnel": tunnel, "about": about}:
                self._about[tunnel] = about
            case {"answer": number, **answer}:
                if not self._server.answer(self._asked.pop(number), answer, fds=fds):
                    for fd in fds:
                        os.close(fd)

    def _serve(self, client: Client, request: Request) -> None:
        now = time.monotonic()
        try:
            match request:
                case {"do": "status"}:
                    self._due[client] = self._book.ready_at(now)
                case {"do": "watch", **options}:
                    self._watching[client] = _interval(options)
                    self._due[client] = self._book.ready_at(now)
                case {"do": "add", "name": str(name)} if client.fds and _is_short(name):
                    self._forward(client, {"request": "add", "name": name})
                case {"do": "remove", "instance": str(instance)} if _is_short(instance):
                    self._forward(client, {"request": "remove", "instance": instance})
                case {"do": "trace" | "enter" | "reload" | "stop" as request}:
                    self._forward(client, {"request": request})
                case _:
                    raise LocalProtocolError(
                        "expected status, watch with interval_s, trace, enter, stop,"
                        " add with name and a descriptor, or remove with instance"
                    )
        except LocalProtocolError as error:
            self._server.answer(client, {"ok": False, "error": str(error)})

    def _gone(self, client: Client) -> None:
        self._due.pop(client, None)
        self._watching.pop(client, None)

    def _forward(self, client: Client, request: Request) -> None:
        """Ask the guardian, who checks everything itself."""
        if len(self._asked) >= MAX_REQUESTS:
            raise LocalProtocolError("the group is busy (expected one request at a time)")
        self._requests += 1
        self._asked[self._requests] = client
        fds = client.take_fds()
        passed = fds if request["request"] == "add" else []
        self._guardian.send({**request, "id": self._requests}, passed)
        for fd in fds:
            os.close(fd)

    def _tell_status(self, client: Client, now: float) -> None:
        interval = self._watching.get(client)
        if interval is None:
            del self._due[client]
        else:
            self._due[client] = now + interval
        if not self._server.is_behind(client):
            self._server.answer(client, self._status(now), last=interval is None)

    def _status(self, now: float) -> dict[str, Any]:
        return self._book.status(now, self._loop.wakeups)

    def _expose(self) -> bytes:
        return self._exposition(self._status(time.monotonic()))

    def _answer_datagram(self, tunnel: int, end: socket.socket) -> None:
        """A request of the reference's tools: 88 bytes to a client that is bound to a path."""
        with contextlib.suppress(BlockingIOError):
            command, client = end.recvfrom(1)
            if command != bytes((STATUS_COMMAND,)) or not client:
                return
            if not self._datagrams.take(time.monotonic()):
                return
            try:
                end.sendto(self._book.datagram(tunnel), client)
            except OSError as error:
                self._limit.log(
                    log,
                    logging.WARNING,
                    tunnel,
                    time.monotonic(),
                    "failed to send status to a client reason=%s",
                    error.strerror,
                )


def _is_short(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARS


def _interval(options: dict[str, Any]) -> float:
    shortest, longest = WATCH_INTERVAL_S
    interval = options.get("interval_s", 1.0)
    if not isinstance(interval, int | float) or not shortest <= interval <= longest:
        raise LocalProtocolError(f"interval_s: expected {shortest} to {longest} seconds")
    return float(interval)


make = Control
