"""What was taken over for sending and has not left yet.

Between a link's ``send`` and the one task that writes. A ``put`` that is cancelled has put nothing,
one that returned is sent whole: that makes ``send`` safe to cancel, whatever the writer waits for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from chancel.errors import LinkClosed

T = TypeVar("T")


class Outbox(Generic[T]):
    """A queue with room for ``limit`` items. Many tasks put, in turn; one takes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._putting: deque[asyncio.Future[None]] = deque()
        self._taking: asyncio.Future[None] | None = None
        self._end: str | None = None

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: T) -> None:
        """Add an item once there is room. Raises ``LinkClosed``."""
        if self._end is None and (self._putting or len(self._items) >= self._limit):
            await self._turn()
        if self._end is not None:
            raise LinkClosed(self._end)
        self._items.append(item)
        _wake(self._taking)
        self._next_turn()

    async def first(self) -> T:
        """Wait for the oldest item, which stays until :meth:`sent`. Raises ``LinkClosed`` after the
        last one."""
        while not self._items:
            if self._end is not None:
                raise LinkClosed(self._end)
            self._taking = asyncio.get_running_loop().create_future()
            try:
                await self._taking
            finally:
                self._taking = None
        return self._items[0]

    def sent(self) -> None:
        """The oldest item has left: there is room for another one."""
        if self._items:  # else it was discarded meanwhile
            self._items.popleft()
            self._next_turn()

    def end(self, why: str, *, discard: bool = False) -> None:
        """Take nothing more over; what is here is still to be sent, unless it is discarded."""
        if discard:
            self._items.clear()
        if self._end is None:
            self._end = why
        for waiting in self._putting:
            _wake(waiting)
        _wake(self._taking)

    async def _turn(self) -> None:
        """Wait for room, behind those who wait already."""
        turn = asyncio.get_running_loop().create_future()
        self._putting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._putting.remove(turn)
            self._next_turn()
            raise
        self._putting.remove(turn)

    def _next_turn(self) -> None:
        if self._putting and len(self._items) < self._limit:
            _wake(self._putting[0])


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
