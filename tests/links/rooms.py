"""A chat room in memory: a :class:`LineChannel` for each member, as good or bad as one likes."""

from __future__ import annotations

import asyncio
import random

from chancel.links.endpoint import Inbox

MAX_UNREAD = 100


class Room:
    """Passes each line on to all members but its author (with ``echo``, to that one as well).

    ``loss``, ``doubling`` and ``delay`` are probabilities; a delayed line is overtaken by others.
    """

    def __init__(
        self,
        *,
        max_line: int = 400,
        echo: bool = False,
        loss: float = 0.0,
        doubling: float = 0.0,
        delay: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.max_line = max_line
        self.said: list[tuple[float, str]] = []
        """Every line, and the loop's time when it was said."""
        self.lost = 0
        self._echo = echo
        self._loss = loss
        self._doubling = doubling
        self._delay = delay
        self._random = random.Random(seed)
        self._members: list[Member] = []

    def member(self) -> Member:
        """Somebody else enters."""
        self._members.append(Member(self))
        return self._members[-1]

    def crowded(self, author: Member) -> bool:
        """Whether somebody doesn't keep up."""
        return any(
            len(member.lines) >= MAX_UNREAD and not member.lines.ended
            for member in self._members
            if member is not author
        )

    def say(self, author: Member | None, line: str) -> None:
        """Pass a line on; without an author, a stranger's."""
        loop = asyncio.get_running_loop()
        assert len(line) <= self.max_line
        self.said.append((loop.time(), line))
        for member in self._members:
            if member is author and not self._echo:
                continue
            if self._random.random() < self._loss:
                self.lost += 1
                continue
            for _ in range(1 + (self._random.random() < self._doubling)):
                late = self._random.random() < self._delay
                loop.call_later(self._random.random() if late else 0.0, member.lines.put, line)


class Member:
    """One end. Whoever writes waits while somebody else has :data:`MAX_UNREAD` lines to read."""

    name = "memory://room"

    def __init__(self, room: Room) -> None:
        self.lines: Inbox[str] = Inbox(10_000)
        self._room = room

    @property
    def max_line(self) -> int:
        return self._room.max_line

    async def send_line(self, line: str) -> None:
        await asyncio.sleep(0)
        while self._room.crowded(self):
            await asyncio.sleep(0.01)
        self._room.say(self, line)

    async def receive_line(self) -> str:
        return (await self.lines.take(1))[0]

    def close(self) -> None:
        self.lines.end("left the room")

    async def wait_closed(self) -> None:
        """Nothing is held."""
