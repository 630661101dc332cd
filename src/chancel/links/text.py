"""A link over anything that carries short lines of text: a chat room, SMS, a bulletin board.

:class:`TextLink` makes a link of a :class:`LineChannel`, which is two calls to write (``irc`` has
one). A message is cut into lines (``text_lines``) and put together again at the other end, where
lines may be missing, doubled, out of order or somebody else's. Nothing is repeated here, so the
link is not reliable.

**Rate.** Chat servers slow down or throw out who writes too much, so lines are paced by a
:class:`LineRate`. Nothing piles up: ``send`` waits until the message before has left.

A tunnel's key exchange is eight offers from each end, of two lines each where a line has 443
characters. With the protocol's own timers that takes at least two lines per second, and then
fourteen of the fifteen seconds that there are. :func:`tunnel_profile` gives it the time that the
lines need, 22 s at a line in two seconds, and is for both ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
from collections import Counter
from typing import Final, Protocol

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.endpoint import LinkEndpoint
from chancel.links.interface import Peer
from chancel.links.outbox import Outbox
from chancel.links.text_lines import (
    MAX_PARTS,
    SENDER_BYTES,
    Reassembly,
    Unused,
    check_tag,
    part_bytes,
    split,
)
from chancel.protocol import profile
from chancel.protocol.profile import Profile
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.types import Buffer

MAX_MESSAGE: Final = MAX_DATAGRAM_BYTES
"""What ``max_message`` is unless another number is given: any datagram of a tunnel fits. One line
lost is the message lost, so a longer one hardly gets through a room that loses some."""

MAX_UNSENT: Final = 1
"""Messages that were taken over and haven't left, the one that is just being sent. It may take
seconds, and what waits in a queue for long is worth nothing to a key exchange, or to a voice."""


EXCHANGE_LINES: Final = 16
"""What either end of a tunnel says in one round of its key exchange: a key and an answer, in four
offers each, of two lines each."""


class LineChannel(Protocol):
    """Carries lines of text, each whole or not at all: what a :class:`TextLink` stands on."""

    @property
    def name(self) -> str:
        """Where the lines go, for people."""
        ...

    @property
    def max_line(self) -> int:
        """Characters (ASCII) of a line that arrive whole. May change."""
        ...

    async def send_line(self, line: str) -> None:
        """Send one line. Raises ``LinkClosed``."""
        ...

    async def receive_line(self) -> str:
        """Return the next line of anybody whom the channel can't rule out to be the peer.

        Raises ``LinkClosed``. Safe to cancel.
        """
        ...

    def close(self) -> None:
        """Close. Never raises."""
        ...

    async def wait_closed(self) -> None:
        """Wait until everything is released."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class LineRate:
    """How fast lines may be sent: ``burst`` at once after a silence, then ``lines_per_s``."""

    lines_per_s: float
    burst: int = 1

    def __post_init__(self) -> None:
        if self.lines_per_s <= 0 or self.burst < 1:
            raise LocalProtocolError(f"{self}: allow more than 0 lines per second, in bursts of 1+")


class TextLink(LinkEndpoint):
    """A link over a channel of lines, which it owns and closes.

    Both ends use the same ``tag``; several pairs in one room, different ones. ``rate`` is what the
    channel's server allows, ``None`` no limit.
    """

    reliable = False

    def __init__(
        self,
        channel: LineChannel,
        *,
        tag: str = "chancel",
        rate: LineRate | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._room = asyncio.Event()
        super().__init__(max_message, room=self._room.set)
        check_tag(tag)
        if max_message > MAX_PARTS * part_bytes(tag, channel.max_line):
            raise LocalProtocolError(
                f"messages of {max_message} bytes don't fit into {MAX_PARTS} lines of"
                f" {channel.max_line} characters: choose a smaller max_message"
            )
        self._channel = channel
        self._tag = tag
        self._bucket = None if rate is None else _Bucket(rate)
        self._sender = os.urandom(SENDER_BYTES)
        self._number = 0
        self._reassembly = Reassembly(tag, self._sender, max_message)
        self._outbox: Outbox[bytes] = Outbox(MAX_UNSENT)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<TextLink {self._tag} over {self._channel.name}>"

    @property
    def peer(self) -> Peer:
        """Whoever uses our tag at the other end of the channel."""
        return Peer(self._channel.name)

    @property
    def unused(self) -> Counter[Unused]:
        """Lines that came and were of no use, by reason."""
        return self._reassembly.unused

    async def send(self, message: Buffer) -> None:
        """Send one message."""
        self._enter()
        self._check_size(message)
        await self._outbox.put(bytes(message))

    async def wait_closed(self) -> None:
        """Wait until the channel is released."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.wait_closed()

    def _enter(self) -> None:
        super()._enter()
        if not self._tasks:
            create_task = asyncio.get_running_loop().create_task
            self._tasks = [create_task(self._write()), create_task(self._read())]

    def _release(self) -> None:
        super()._release()
        self._outbox.end("closed at this end", discard=True)
        if self._loop is None or not self._loop.is_closed():
            for task in self._tasks:
                task.cancel()
        self._channel.close()

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                line = await self._channel.receive_line()
                message = self._reassembly.receive_untrusted(line, clock())
                if message is None:
                    continue
                while self.inbox.full:  # then it is up to the channel what to do with lines
                    self._room.clear()
                    await self._room.wait()
                self.inbox.put(message)
        except LinkClosed as end:
            self._ended(end)

    async def _write(self) -> None:
        try:
            while True:
                for line in self._lines(await self._outbox.first()):
                    await self._pace()
                    await self._channel.send_line(line)
                self._outbox.sent()
        except (LinkClosed, LocalProtocolError) as end:
            self._ended(end)

    def _ended(self, end: LinkClosed | LocalProtocolError) -> None:
        self.inbox.end(str(end))
        self._outbox.end(str(end), discard=True)

    def _lines(self, message: bytes) -> list[str]:
        self._number = (self._number + 1) & 0xFFFF
        return split(
            message,
            tag=self._tag,
            sender=self._sender,
            number=self._number,
            max_line=self._channel.max_line,
        )

    async def _pace(self) -> None:
        if self._bucket is not None:
            clock = asyncio.get_running_loop().time
            while (wait_s := self._bucket.take(clock())) > 0:
                await asyncio.sleep(wait_s)


def tunnel_profile(rate: LineRate) -> Profile:
    """The timers of a tunnel over a channel of this rate, the same at both ends.

    Offers are repeated, and may be as old, as lines can keep up with; so an offer that somebody
    holds back is taken for longer, once. Where lines are fast enough they are the protocol's own.
    """
    own = profile.CURRENT
    round_s = EXCHANGE_LINES / rate.lines_per_s
    return dataclasses.replace(
        own,
        offer_interval_s=max(own.offer_interval_s, round_s),
        offer_validity_s=max(own.offer_validity_s, math.ceil(2 * round_s)),
        burst_interval_s=max(own.burst_interval_s, round_s / 2),
        heartbeat_timeout_s=max(own.heartbeat_timeout_s, 4 * round_s),
        dead_peer_s=max(own.dead_peer_s, 8 * round_s),
    )


class _Bucket:
    """A token bucket, full at first: a line takes one token."""

    def __init__(self, rate: LineRate) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take a token, and return 0; or return in how many seconds there will be one."""
        rate = self._rate
        elapsed = 0.0 if self._at is None else now - self._at
        self._tokens = min(float(rate.burst), self._tokens + elapsed * rate.lines_per_s)
        self._at = now
        # A wait that was computed may end a rounding error early.
        if self._tokens >= 1.0 - 1e-6:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / rate.lines_per_s
