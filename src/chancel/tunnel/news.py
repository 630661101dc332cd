"""Events on their way to the program."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from chancel.protocol.events import MAX_EVENTS
from chancel.tunnel.events import TunnelEvent


class News:
    """The newest events that nobody took yet; of more than 256 the oldest go first."""

    def __init__(self) -> None:
        self._events: deque[TunnelEvent] = deque(maxlen=MAX_EVENTS)
        self._changed = asyncio.Event()
        self._ended = False

    def tell(self, event: TunnelEvent) -> None:
        """Something happened."""
        self._events.append(event)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will happen."""
        self._ended = True
        self._changed.set()

    async def take(self) -> AsyncIterator[TunnelEvent]:
        """Events as they come, until the end. Each goes to one reader."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()
