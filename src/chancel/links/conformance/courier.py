"""One direction of a pair: sends messages that all differ, and judges what arrives."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from chancel.links.conformance.checking import Terms, blocks, expect, fail, running
from chancel.links.interface import Link

FLOOD_BYTES = 64 << 20
"""More than any link may hold between two ends."""

_FLOOD_MESSAGE = 16 << 10
_SMALL = 24
"""Bytes that make a message differ from all others, for sure."""


class Courier:
    """Carries messages from ``sender`` to ``receiver``; the first of them has that number."""

    def __init__(self, sender: Link, receiver: Link, terms: Terms, first: int = 1) -> None:
        self.sender = sender
        self.receiver = receiver
        self.terms = terms
        self.reliable = sender.reliable
        self.loses = terms.loses and not self.reliable
        self._ordered = self.reliable or not terms.reorders
        self._excused = not self.reliable and (terms.loses or terms.duplicates or terms.reorders)
        self._known: set[bytes] = set()
        self._next = first

    def message(self, size: int = _SMALL) -> bytes:
        """The next message, as large as that or as the terms allow."""
        contents = random.Random(self._next)  # noqa: S311 - to be repeated, no secret
        self._next += 1
        message = contents.randbytes(self.terms.size(self.sender, size))
        if self._excused:
            self._known.add(message)
        return message

    def messages(self, count: int, size: int = _SMALL) -> list[bytes]:
        """The next messages."""
        return [self.message(size) for _ in range(count)]

    async def carry(self, message: bytes) -> None:
        """Send a message and see it arrive; where the network may lose it, until it does."""
        while True:
            await self.sender.send(message)
            if await self.arrives(message):
                return

    async def arrives(self, message: bytes) -> bool:
        """See a message arrive; ``False`` if the network has lost it, and may."""
        while (arrived := await self.next()) is not None:
            if arrived == message:
                return True
            if not (self._excused and arrived in self._known):  # a late one, or a second copy
                fail(_difference(message, arrived))
        return False

    async def next(self) -> bytes | None:
        """The next message; ``None`` if the network has lost it, and may."""
        return await (self.next_or_silence() if self.loses else self.receiver.receive())

    async def next_or_silence(self) -> bytes | None:
        """The next message; ``None`` after a silence."""
        try:
            async with asyncio.timeout(self.terms.quiet_s):
                return await self.receiver.receive()
        except TimeoutError:
            return None

    async def rest(self) -> list[bytes]:
        """All that was sent before, found by sending one more message behind it."""
        marker = self.message()
        if self.loses or not self._ordered:
            return await self.until_silence()
        arrived: list[bytes] = []
        async with running(self.sender.send(marker)) as sending:
            while (message := await self.receiver.receive()) != marker:
                arrived.append(message)
            await sending
        return arrived

    async def taken_while(self, sending: asyncio.Task[None], count: int) -> list[bytes]:
        """All of ``count`` messages of a call that may wait until some are received."""
        if self.reliable:
            arrived = [await self.receiver.receive() for _ in range(count)]
            await sending
            return arrived + await self.rest()
        arrived = []
        while not sending.done():
            arrived += await self.until_silence()
        await sending
        return arrived + await self.rest()

    async def until_silence(self) -> list[bytes]:
        """What arrives before it gets quiet."""
        arrived: list[bytes] = []
        while (message := await self.next_or_silence()) is not None:
            arrived.append(message)
        return arrived

    def judge(self, sent: Sequence[bytes], arrived: Sequence[bytes], *, all_of: bool) -> None:
        """What was sent against what arrived; with ``all_of``, nothing may be missing."""
        places = {message: place for place, message in enumerate(sent)}
        if self._excused:  # late ones, and second copies
            arrived = [data for data in arrived if data in places or data not in self._known]
        for message in arrived:
            expect(message in places, f"{len(message)} bytes arrived that nobody had sent")
        copies = Counter(arrived)
        if self.reliable or not self.terms.duplicates:
            doubled = sum(count > 1 for count in copies.values())
            expect(not doubled, f"{doubled} of {len(sent)} messages arrived more than once")
        if self._ordered and (self.reliable or not self.terms.duplicates):
            order = [places[message] for message in arrived]
            expect(order == sorted(order), f"messages arrived in the order {order[:20]}")
        if all_of and not self.loses:
            missing = len(sent) - len(copies)
            expect(not missing, f"{missing} of {len(sent)} messages are missing")

    async def until_a_send_waits(self) -> tuple[list[bytes], asyncio.Task[None] | None]:
        """Flood a reliable link. An unreliable one may never wait, and isn't tried for as long."""
        return await self.flood(FLOOD_BYTES if self.reliable else FLOOD_BYTES // 16)

    async def flood(self, most: int = FLOOD_BYTES) -> tuple[list[bytes], asyncio.Task[None] | None]:
        """Send while nobody reads, until a send waits; returns what was sent, and that last one.

        ``None``: in ``most`` bytes none of them waited.
        """
        sent: list[bytes] = []
        size = max(1, self.terms.size(self.sender, _FLOOD_MESSAGE))
        for _ in range(most // size):
            sent.append(self.message(size))
            task = asyncio.create_task(self.sender.send(sent[-1]))
            await asyncio.sleep(0)
            if not task.done() and await blocks(task, self.terms):
                return sent, task
            await task
        return sent, None


def _difference(sent: bytes, arrived: bytes) -> str:
    if len(sent) != len(arrived):
        return f"of a message of {len(sent)} bytes, {len(arrived)} bytes arrived"
    at = next(at for at, (one, other) in enumerate(zip(sent, arrived, strict=True)) if one != other)
    return f"a message of {len(sent)} bytes arrived altered at byte {at}"
