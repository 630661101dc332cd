"""Calling and being called: what every transport over connections does the same way."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.endpoint import Inbox, ListenerEndpoint
from chancel.links.interface import Link
from chancel.links.sockets import in_words
from chancel.links.stream import StreamLink

T = TypeVar("T")

FOR_EVER = -1
"""A number of retries."""

OPEN_S = 20.0
"""How long one attempt to connect, or a caller's handshake, may take."""

MAX_CALLS = 64
"""Callers that wait for ``accept``; further ones wait in the kernel. Each may make us hold the
inbox of a link."""

MAX_OPENING = 64
"""Callers in their handshake. Where more call, the oldest has to go: an honest one is done by then,
and those who only hold a place can't shut the others out."""

BACKLOG = 128
"""Callers that wait in the kernel."""

ACCEPT_PAUSE_S = 0.1
"""After the system refused to accept (no descriptors left), it is asked again after this time."""

_CALLER_LEFT = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
"""What ``accept`` says of one caller; the next may be fine."""


async def call(
    name: str, attempt: Callable[[], Awaitable[T]], retries: int, interval_s: float
) -> T:
    """Try until it succeeds: once, and ``retries`` times more, or :data:`FOR_EVER`.

    ``interval_s`` lies between two attempts. What is worth another attempt raises ``OSError``.
    Raises ``LinkClosed`` with the last reason.
    """
    if retries < FOR_EVER or interval_s < 0:
        raise LocalProtocolError(
            f"{retries} retries each {interval_s} s are impossible: -1 is for ever, 0 is none"
        )
    for number in itertools.count():
        try:
            async with asyncio.timeout(OPEN_S):
                return await attempt()
        except OSError as error:
            if number == retries:
                raise LinkClosed(f"{name} can't be reached: {in_words(error)}") from error
        await asyncio.sleep(interval_s)
    raise AssertionError("a count has no end")


async def opened(link: StreamLink) -> StreamLink:
    """The link once it can send. Raises ``LinkClosed`` if the peer was refused, and
    ``ConnectionError`` if the connection broke before; the link is gone then."""
    try:
        await link.opened()
    except LinkClosed as closed:
        if link.drops:
            link.close()
            await link.wait_closed()  # so that the peer hears why
            raise
        link.abort()
        raise ConnectionError(str(closed)) from closed
    except BaseException:
        link.abort()
        raise
    return link


class StreamListener(ListenerEndpoint):
    """Accepts connections on some listening sockets, which it owns.

    ``make`` makes the link for the next caller, ``released`` is called when the listener closes.
    Callers that break off before they have a link are counted in ``failed``.
    """

    def __init__(
        self,
        address: str,
        listening: Sequence[socket.socket],
        make: Callable[[], StreamLink],
        released: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.failed = 0
        self._room = asyncio.Event()
        self.inbox = Inbox[Link](MAX_CALLS, self._room.set)
        self._address = address
        self._make = make
        self._released = released
        self._loop = asyncio.get_running_loop()
        self._waiting: set[StreamLink] = set()
        self._opening: dict[StreamLink, asyncio.Task[None]] = {}
        self._accepting = [self._start(each) for each in listening]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}{' closed' if self.closed else ''}>"

    @property
    def address(self) -> str:
        """Where to call, as an address string."""
        return self._address

    async def accept(self) -> Link:
        """Return the link of the next peer."""
        while True:
            link = await super().accept()
            assert isinstance(link, StreamLink)
            self._waiting.discard(link)
            if not link.over:
                return link
            self.failed += 1
            link.close()

    async def wait_closed(self) -> None:
        """Wait until the sockets and the callers that nobody accepted are gone."""
        tasks = [*self._accepting, *self._opening.values()]
        if tasks:
            await asyncio.wait(tasks)
        for link in list(self._waiting):
            await link.wait_closed()

    def _release(self) -> None:
        super()._release()
        self._released()
        if self._loop is None or self._loop.is_closed():
            return
        for task in (*self._accepting, *self._opening.values()):
            task.cancel()
        for link in self._waiting:
            link.close()

    def _start(self, listening: socket.socket) -> asyncio.Task[None]:
        task = asyncio.create_task(self._accept(listening))
        task.add_done_callback(lambda _: listening.close())
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._until_room()
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                self.failed += 1
                if error.errno not in _CALLER_LEFT:
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            link = self._make()
            try:
                await loop.connect_accepted_socket(partial(_same, link), connection)
            except OSError:
                self.failed += 1
                continue
            self._open(link)

    def _open(self, link: StreamLink) -> None:
        if len(self._opening) >= MAX_OPENING:
            self._opening.pop(next(iter(self._opening))).cancel()
        task = asyncio.create_task(self._until_open(link))
        self._opening[link] = task
        task.add_done_callback(lambda done: self._decide(link, done))

    async def _until_open(self, link: StreamLink) -> None:
        async with asyncio.timeout(OPEN_S):
            await link.opened()
        await self._until_room()

    def _decide(self, link: StreamLink, opening: asyncio.Task[None]) -> None:
        """Hand the caller over, or do without it."""
        self._opening.pop(link, None)
        if self.closed or opening.cancelled() or opening.exception() is not None:
            self.failed += 1
            link.abort()
        elif self.inbox.put(link):
            self._waiting.add(link)

    async def _until_room(self) -> None:
        while self.inbox.full:
            self._room.clear()
            await self._room.wait()


def _same(link: StreamLink) -> StreamLink:
    return link
