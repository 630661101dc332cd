"""What all links, ports and listeners have in common: one event loop, one end, one reader.

A transport derives from :class:`LinkEndpoint`, :class:`PortEndpoint` or :class:`ListenerEndpoint`,
puts what arrives into :attr:`inbox`, and implements ``send`` and ``_release``. The rules of
``interface`` about closing, cancelling and misuse are kept here, once.
"""

from __future__ import annotations

import abc
import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Generic, Self, TypeVar

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.interface import MAX_BATCH, Link
from chancel.wire.types import Address, Buffer

T = TypeVar("T")

MAX_WAITING = 1024
"""What may wait in an inbox: on a reliable link reading stops there, elsewhere the rest is lost."""

MAX_WITHOUT_YIELD = 64
"""Messages that a task moves at most before other tasks get their turn."""


class Inbox(Generic[T]):
    """What has arrived and was not taken yet. One task reads; callbacks put.

    ``room`` is called when an inbox that was full has room again.
    """

    def __init__(self, limit: int = MAX_WAITING, room: Callable[[], None] = lambda: None) -> None:
        self.lost = 0
        """Items that found the inbox full."""
        self._items: deque[T] = deque()
        self._limit = limit
        self._room = room
        self._waiting: asyncio.Future[None] | None = None
        self._end: str | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    @property
    def full(self) -> bool:
        """Whether the next item would be lost."""
        return len(self._items) >= self._limit

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._end is not None

    @property
    def why(self) -> str:
        """The reason given for the end; empty before."""
        return self._end or ""

    def put(self, item: T) -> bool:
        """Add an item; ``False``, and counted, if it is lost: the inbox is full, or at its end."""
        if self._end is not None or self.full:
            self.lost += 1
            return False
        self._items.append(item)
        self._wake()
        return True

    def put_all(self, items: Sequence[T]) -> int:
        """Add items in this order and return how many: the last ones are lost, and counted."""
        room = 0 if self._end is not None else self._limit - len(self._items)
        fitting = items if len(items) <= room else items[:room]
        self.lost += len(items) - len(fitting)
        if fitting:
            self._items.extend(fitting)
            self._wake()
        return len(fitting)

    def end(self, why: str, *, discard: bool = False) -> None:
        """Nothing more comes: once what is here was taken, readers get ``LinkClosed(why)``."""
        if discard:
            self._items.clear()
        if self._end is None:
            self._end = why
        self._wake()

    async def take(self, limit: int) -> list[T]:
        """Wait for an item; return what is there, at most ``limit``. Raises ``LinkClosed``."""
        if limit < 1:
            raise LocalProtocolError(f"a batch of {limit} can't be received: ask for 1 or more")
        if self._waiting is not None:
            raise LocalProtocolError("another task receives already: have one task receive")
        while not self._items:
            if self._end is not None:
                raise LinkClosed(self._end)
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        was_full = self.full
        items = self._items
        if limit >= len(items):
            taken = list(items)
            items.clear()
        else:
            taken = [items.popleft() for _ in range(limit)]
        if was_full and self._end is None:
            self._room()
        return taken

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Endpoint(abc.ABC):
    """One event loop, and an end. ``_release`` frees what is held; it is called once."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._without_yield = 0

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Close. Never raises."""
        if not self._closed:
            self._closed = True
            self._release()

    async def wait_closed(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Wait until everything is released."""

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.wait_closed()

    @abc.abstractmethod
    def _release(self) -> None:
        """Stop, let waiting calls raise ``LinkClosed``, and free what is held."""

    def _enter(self) -> None:
        """To be called first by everything that is awaited. Raises ``LocalProtocolError``."""
        if self._closed:
            raise LocalProtocolError(f"{self!r} was closed: open another one")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise LocalProtocolError(
                f"{self!r} belongs to another event loop: use it there, or open one here"
            )

    async def _breathe(self, messages: int = 1) -> None:
        """Let other tasks run now and then; to be awaited before anything is sent or taken.

        A socket that is always ready never makes its task wait, which would starve the others.
        Raises ``LinkClosed`` if it was closed meanwhile.
        """
        self._without_yield += messages
        if self._without_yield > MAX_WITHOUT_YIELD:
            self._without_yield = 0
            await asyncio.sleep(0)
            if self._closed:
                raise LinkClosed("closed at this end")


class LinkEndpoint(Endpoint):
    """A link whose messages arrive in :attr:`inbox`."""

    def __init__(
        self, max_message: int, limit: int = MAX_WAITING, room: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self.inbox: Inbox[bytes] = Inbox(limit, room)
        self._max_message = max_message

    @property
    def max_message(self) -> int:
        """The largest message that :meth:`send` takes, in bytes."""
        return self._max_message

    @abc.abstractmethod
    async def send(self, message: Buffer) -> None:
        """Send one message."""

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        """Send several messages in this order; none of them if one is too large."""
        self._enter()
        for message in messages:
            self._check_size(message)
        for message in messages:
            await self.send(message)

    async def receive(self) -> bytes:
        """Return the next message."""
        return (await self.receive_batch(1))[0]

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``."""
        self._enter()
        return await self.inbox.take(limit)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._enter()
        while not self._closed:
            try:
                message = await self.receive()
            except LinkClosed:
                return
            yield message

    def _release(self) -> None:
        self.inbox.end("closed at this end", discard=True)

    def _check_size(self, message: Buffer) -> None:
        check_size(size_of(message), self.max_message)


class PortEndpoint(Endpoint):
    """A port whose datagrams arrive in :attr:`inbox`, with their sources."""

    def __init__(self, max_datagram: int, limit: int = MAX_WAITING) -> None:
        super().__init__()
        self.inbox: Inbox[tuple[bytes, Address]] = Inbox(limit)
        self._max_datagram = max_datagram

    @property
    def max_datagram(self) -> int:
        """The largest datagram that :meth:`send` takes, in bytes."""
        return self._max_datagram

    @abc.abstractmethod
    async def send(self, datagram: Buffer, address: Address) -> None:
        """Send one datagram."""

    async def send_batch(self, datagrams: Sequence[tuple[Buffer, Address]]) -> None:
        """Send several datagrams, those to one address in this order; none if one is too large."""
        self._enter()
        for datagram, _ in datagrams:
            self._check_size(datagram)
        for datagram, address in datagrams:
            await self.send(datagram, address)

    async def receive(self) -> tuple[bytes, Address]:
        """Return the next datagram and its source."""
        return (await self.receive_batch(1))[0]

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[tuple[bytes, Address]]:
        """Return at least one datagram and at most ``limit``."""
        self._enter()
        return await self.inbox.take(limit)

    def _release(self) -> None:
        self.inbox.end("closed at this end", discard=True)

    def _check_size(self, datagram: Buffer) -> None:
        check_size(size_of(datagram), self.max_datagram)


class ListenerEndpoint(Endpoint):
    """A listener whose links arrive in :attr:`inbox`."""

    def __init__(self, limit: int = MAX_WAITING) -> None:
        super().__init__()
        self.inbox: Inbox[Link] = Inbox(limit)

    async def accept(self) -> Link:
        """Return the link of the next peer."""
        self._enter()
        return (await self.inbox.take(1))[0]

    async def __aiter__(self) -> AsyncIterator[Link]:
        self._enter()
        while not self._closed:
            try:
                link = await self.accept()
            except LinkClosed:
                return
            yield link

    def _release(self) -> None:
        self.inbox.end("closed at this end", discard=True)


def size_of(message: Buffer) -> int:
    """How many bytes a message has.

    Raises ``LocalProtocolError`` for what is no buffer, and for a view whose ``len`` counts
    something else than bytes that lie side by side.
    """
    if type(message) is not bytes and not isinstance(message, bytes | bytearray):
        if not isinstance(message, memoryview):
            raise LocalProtocolError(
                f"{type(message).__name__} is no message: give bytes, bytearray or a memoryview"
            )
        if message.itemsize != 1 or message.ndim != 1 or not message.c_contiguous:
            raise LocalProtocolError(
                "a message is bytes side by side, and this memoryview is something else: give"
                " view.cast('B') or bytes(view)"
            )
    return len(message)


def check_size(size: int, limit: int) -> None:
    """Raise ``LocalProtocolError`` for a message above the limit."""
    if size > limit:
        raise LocalProtocolError(
            f"a message of {size} bytes is too large (at most {limit} here): send it in parts"
        )
