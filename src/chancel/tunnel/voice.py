"""What a session itself has to say: offers, heartbeats, probes.

Whoever reads from the carrier must never wait for it to take something: two ends that only wait for
each other to read would wait for ever. So the session's own datagrams go out in a task that lives
for as long as there are any, and only the newest of them: the protocol repeats what matters.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.tunnel.carrier import Carrier
from chancel.wire.types import Address


class Voice:
    """Says things on a carrier, in turn with those who send messages and hold ``turn``."""

    def __init__(self, carrier: Carrier, turn: asyncio.Lock) -> None:
        self.unsaid = 0
        """Datagrams that gave way to newer ones, or found the carrier closed."""
        self.refused: str | None = None
        """Why the carrier took none of the last ones: it can't send to the address we have."""
        self._carrier = carrier
        self._turn = turn
        self._words: deque[tuple[bytes, Address]] = deque()
        self._task: asyncio.Task[None] | None = None

    def say(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """Have them sent, as soon as may be."""
        if not datagrams:
            return
        self._words.extend(datagrams)
        while len(self._words) > self._carrier.words:
            self._words.popleft()
            self.unsaid += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._speak())
            self._task.add_done_callback(self._fell_silent)

    def cancel(self) -> None:
        """Say nothing more."""
        self._words.clear()
        if self._task is not None:
            self._task.cancel()

    async def wait_silent(self) -> None:
        """Wait for the end of what is being said."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _speak(self) -> None:
        while self._words:
            async with self._turn:
                words = list(self._words)
                self._words.clear()
                try:
                    await self._carrier.send(words)
                    self.refused = None
                except (LinkClosed, LocalProtocolError) as error:
                    # Whoever reads from the carrier learns that it has ended, and ends the tunnel.
                    self.unsaid += len(words)
                    self.refused = str(error)

    def _fell_silent(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": "a tunnel can't speak", "exception": error, "task": task}
            )
