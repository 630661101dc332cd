"""A link over a stream of bytes: what TCP, TLS, Unix sockets and pipes have in common.

:class:`StreamLink` is the protocol of an asyncio transport. Bytes come in through an optional
cover (TLS), then the framer, then the inbox; when the inbox is full, reading stops, and so does the
peer. On the way out a message is one frame and one write; ``send`` waits while the transport holds
more than it may.

Three things that a transport alone would get wrong are done here:

* Closing a TCP socket on which something unread has arrived resets the connection, and takes along
  what the peer had not received yet. So ``close`` ends our direction, reads on without looking,
  and lets go when the peer's kernel has everything.
* A write that fails makes asyncio drop the connection with what had arrived on it before. That is
  picked up from the socket at the last moment.
* A peer that has ended its direction (half close) has closed the link: ``send`` says so at once.
  What was taken over before still goes to it, in case that it listens.

asyncio's own TLS is not used, because it closes both directions at once and gives up, with data in
flight, when the peer still speaks. StreamReader and StreamWriter were rejected: three copies more,
and a cancelled read or write that has done part of its work.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import cast

from chancel.errors import LinkClosed
from chancel.links.cover import Cover
from chancel.links.endpoint import MAX_WAITING, LinkEndpoint
from chancel.links.framing import Damage, Framer
from chancel.links.interface import MAX_BATCH, Peer
from chancel.links.sockets import in_words, salvage, unacknowledged
from chancel.wire.types import Buffer

MAX_WAITING_BYTES = 1 << 20
"""What may wait in the inbox, in bytes: with this much, or ``MAX_WAITING`` messages, reading stops.
One message above it may wait as well."""

MAX_UNSENT_BYTES = 1 << 18
"""What a transport may hold before ``send`` waits: as much as one write of a socket takes."""

WRITE_BYTES = 1 << 16
"""Messages of a batch are put together up to this size for one write."""

LINGER_S = 30.0
"""How long, after ``close``, what was sent may make no progress before it is given up: a peer may
be slow, and TCP asks one that took nothing for a while only now and then."""

SETTLE_S = 0.005
"""How often progress is looked at after ``close``."""

CLOSED_HERE = "closed at this end"

Describe = Callable[[asyncio.BaseTransport], str]
"""Called with a new connection: names its peer."""

log = logging.getLogger("chancel.links")


class StreamLink(LinkEndpoint, asyncio.Protocol):
    """A reliable link over a transport. The functions of the transports' modules make it.

    ``describe`` gives the peer's name when there is a connection. What came and was dropped is
    counted in :attr:`drops`.
    """

    reliable = True

    def __init__(
        self,
        describe: Describe,
        framer: Framer,
        cover: Cover | None = None,
    ) -> None:
        super().__init__(framer.max_message)
        self._describe = describe
        self._framer = framer
        self._cover = cover
        self._peer = Peer("nobody yet")
        self._transport: asyncio.Transport | None = None
        self._own_drops: Counter[Damage] = Counter()
        self._backlog: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._senders: deque[asyncio.Future[None]] = deque()
        self._sending_paused = False
        self._reading_paused = False
        self._at_eof = False
        self._leaving = False
        self._direction_ended = False
        self._heard_all: str | None = None
        self._cannot_send: str | None = None
        self._unsent = 0
        self._give_up_at = 0.0
        self._opened = asyncio.Event()
        self._released = asyncio.Event()

    def __repr__(self) -> str:
        state = self._cannot_send or self._heard_all or "open"
        return f"<{type(self).__name__} {self._peer} {state}>"

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        return self._peer

    @property
    def drops(self) -> Counter[Damage]:
        """What came and was dropped, by reason."""
        return self._own_drops + self._framer.drops

    @property
    def over(self) -> bool:
        """Whether the connection is gone and nothing of it is left to receive."""
        return self._released.is_set() and not len(self.inbox) and not self._backlog

    async def opened(self) -> None:
        """Wait until messages can be sent. Raises ``LinkClosed``, with the reason in words."""
        await self._opened.wait()
        if self._cover is not None and not self._cover.ready:
            raise LinkClosed(self._cannot_send or CLOSED_HERE)

    async def send(self, message: Buffer) -> None:
        """Send one message."""
        self._enter()
        frame = self._framer.encode(message)
        await self._breathe()
        await self._until_writable()
        self._write(frame)

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        """Send several messages in this order; none of them if one is too large."""
        self._enter()
        for message in messages:
            self._check_size(message)
        frames: list[bytes] = []
        size = 0
        for message in messages:
            frames.append(self._framer.encode(message))
            size += len(frames[-1])
            if size >= WRITE_BYTES:
                await self._write_together(frames)
                frames, size = [], 0
        if frames:
            await self._write_together(frames)

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``."""
        messages = await super().receive_batch(limit)
        self._waiting_bytes -= sum(map(len, messages))
        if self._reading_paused or self._backlog:
            self._fill()
        return messages

    async def wait_closed(self) -> None:
        """Wait until the peer has what was sent, or :data:`LINGER_S` pass without progress."""
        await self._released.wait()

    def abort(self) -> None:
        """Close at once: what was not sent yet is lost."""
        self.close()
        if self._transport is not None and not self._home.is_closed():
            self._transport.abort()

    # What the transport calls, in the order of a connection's life.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        self._peer = Peer(self._describe(transport))
        if self._cover is None:
            self._opened.set()
        else:
            self._transport.write(self._cover.output())

    def data_received(self, data: bytes) -> None:
        """Take untrusted bytes."""
        if self._leaving:
            return
        cover = self._cover
        if cover is None:
            self._take(data)
            return
        plain = cover.open_untrusted(data)
        output = cover.output()
        if output and self._connection_stands():
            self._live.write(output)
        if cover.ready:
            self._opened.set()
        self._take(plain)
        if cover.failure is not None:
            self._own_drops[Damage.TLS_REFUSED] += 1
            self._break_off(cover.failure)
        elif cover.ended:
            self._end_of_input()

    def eof_received(self) -> bool:
        """The peer sends nothing more. It may still listen, so the transport stays open."""
        self._at_eof = True
        self._end_of_input()
        if not self._opened.is_set():
            self._break_off("the peer closed the connection before it was open")
        return True

    def pause_writing(self) -> None:
        """The transport holds as much as it may."""
        self._sending_paused = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._sending_paused = False
        self._wake_senders()

    def writing_failed(self, exc: OSError) -> None:
        """Our direction is broken; the other one may have something left."""
        self._stop_sending(f"the connection broke: {in_words(exc)}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, with ``exc`` because it broke."""
        if exc is not None and not self._leaving and not self._at_eof:
            for data in salvage(self._live):
                self.data_received(data)
        why = CLOSED_HERE if exc is None else f"the connection broke: {in_words(exc)}"
        if self._framer.partial and self._heard_all is None:
            self._own_drops[Damage.CUT_OFF] += 1
            why += ", in the middle of a message"
        self._stop_sending(why)
        self._stop_receiving(why)
        self._opened.set()
        self._released.set()

    # On the way in.

    def _take(self, data: bytes) -> None:
        if self._heard_all is not None:
            return
        messages = self._framer.feed(data)
        if messages:
            self._backlog.extend(messages)
            self._fill()
        if self._framer.broken is not None:
            self._break_off(f"the peer doesn't keep to the framing ({self._framer.broken})")

    def _fill(self) -> None:
        """Move what waits into the inbox as far as it has room; stop or resume reading."""
        inbox, backlog = self.inbox, self._backlog
        while backlog and not inbox.full and self._waiting_bytes < MAX_WAITING_BYTES:
            message = backlog.popleft()
            self._waiting_bytes += len(message)
            inbox.put(message)
        if self._heard_all is not None:
            if not backlog:
                inbox.end(self._heard_all)
        elif backlog or inbox.full or self._waiting_bytes >= MAX_WAITING_BYTES:
            self._read(False)
        elif len(inbox) <= MAX_WAITING // 2 and self._waiting_bytes <= MAX_WAITING_BYTES // 2:
            self._read(True)

    def _read(self, on: bool) -> None:
        if self._reading_paused is on and not self._at_eof and self._connection_stands():
            self._reading_paused = not on
            if on:
                self._live.resume_reading()
            else:
                self._live.pause_reading()

    def _end_of_input(self, why: str = "the peer closed the connection") -> None:
        if self._heard_all is not None:
            return
        if self._framer.partial:
            self._own_drops[Damage.CUT_OFF] += 1
            why += " in the middle of a message"
        elif self._cover is not None and not self._cover.ended:
            why += " without TLS's goodbye: something may be missing"
        self._stop_receiving(why)
        self._stop_sending(why)

    def _stop_receiving(self, why: str) -> None:
        if self._heard_all is None:
            self._heard_all = why
            self._fill()

    # On the way out.

    async def _write_together(self, frames: list[bytes]) -> None:
        await self._breathe(len(frames))
        await self._until_writable()
        self._write(b"".join(frames))

    async def _until_writable(self) -> None:
        while self._cannot_send is None and self._sending_paused:
            turn = self._home.create_future()
            self._senders.append(turn)
            try:
                await turn
            finally:
                self._senders.remove(turn)
        if self._cannot_send is not None:
            raise LinkClosed(self._cannot_send)

    def _write(self, data: bytes) -> None:
        if self._cover is None:
            self._live.write(data)
            return
        self._live.write(self._cover.seal(data))
        if self._cover.failure is not None:
            self._break_off(self._cover.failure)
            raise LinkClosed(self._cover.failure)

    def _wake_senders(self) -> None:
        for turn in self._senders:
            if not turn.done():
                turn.set_result(None)

    def _stop_sending(self, why: str) -> None:
        if self._cannot_send is None:
            self._cannot_send = why
            self._wake_senders()

    # At the end.

    @property
    def _live(self) -> asyncio.Transport:
        assert self._transport is not None, "a link is handed out with its connection"
        return self._transport

    @property
    def _home(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "a link is handed out with its connection"
        return self._loop

    def _connection_stands(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _break_off(self, why: str) -> None:
        """Have nothing more to do with this peer; what it sent before is still received."""
        self._stop_receiving(why)
        self._stop_sending(why)
        self._opened.set()
        self._leave()

    def _release(self) -> None:
        super()._release()
        self._backlog.clear()
        self._stop_receiving(CLOSED_HERE)
        self._stop_sending(CLOSED_HERE)
        self._leave()

    def _leave(self) -> None:
        """End our direction, and let go of the connection once the peer has everything."""
        if self._leaving or not self._connection_stands() or self._home.is_closed():
            return
        self._leaving = True
        if self._cover is not None:
            self._live.write(self._cover.goodbye())
        self._read(True)
        self._unsent = self._unsent_bytes()
        self._give_up_at = self._home.time() + self._patience_s()
        self._settle()

    def _settle(self) -> None:
        if not self._connection_stands():
            return
        if not self._direction_ended and self._live.get_write_buffer_size() == 0:
            self._end_direction()
        unsent, now = self._unsent_bytes(), self._home.time()
        if unsent == 0 and self._may_let_go():
            self._live.close()
            return
        if unsent < self._unsent:
            self._unsent = unsent
            self._give_up_at = now + self._patience_s()
        elif now >= self._give_up_at:
            if unsent:
                log.warning("peer took no more, bytes lost peer=%s bytes=%d", self.peer, unsent)
            self._live.abort()
            return
        self._home.call_later(SETTLE_S, self._settle)

    def _end_direction(self) -> None:
        """Tell the peer that nothing more comes."""
        self._direction_ended = True
        if self._live.can_write_eof():
            try:
                self._live.write_eof()
            except OSError:  # reset meanwhile, so nobody is there to be told
                self._live.abort()

    def _patience_s(self) -> float:
        """How long the peer may take nothing."""
        return LINGER_S

    def _may_let_go(self) -> bool:
        """Whether a peer that has everything needs the connection no more."""
        return True

    def _unsent_bytes(self) -> int:
        """What the peer's kernel has not got yet, as far as ours tells."""
        return self._live.get_write_buffer_size() + unacknowledged(self._live)
