"""One end of a tunnel as a link of asyncio: a session, what carries it, and one timer.

A packet's way out: ``send_batch`` checks sizes, waits for its turn, seals, hands down. Its way in:
the tunnel's one task reads a batch, the session opens it, the inbox takes what it carried. Protocol
time is the event loop's time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

from chancel.crypto.suite import Suite
from chancel.crypto.system import SystemSuite
from chancel.errors import LinkClosed, LocalProtocolError, RemoteProtocolError
from chancel.links.endpoint import MAX_WAITING, LinkEndpoint, check_size, size_of
from chancel.links.interface import MAX_BATCH, Link, Peer, Port
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.events import PeerUnresponsive, SecretNotShared
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.registration_events import CathedralSilent
from chancel.protocol.session import Session, SessionSettings, SessionStatus
from chancel.protocol.tfc import inner_length_untrusted
from chancel.protocol.uncopied import Uncopied
from chancel.tunnel import settings as checks
from chancel.tunnel.carrier import carried
from chancel.tunnel.cathedrals import Cathedrals, settings_of, targets_of
from chancel.tunnel.events import TunnelEvent
from chancel.tunnel.keys import Key, shared_source
from chancel.tunnel.names import Names
from chancel.tunnel.news import News
from chancel.tunnel.standing import Standing
from chancel.tunnel.status import TunnelStatus, problem
from chancel.tunnel.voice import Voice
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address, Buffer, Flocks


class Tunnel(LinkEndpoint, Uncopied):
    """A tunnel over ``carrier``, which it owns: it is closed with the tunnel.

    ``secret`` is 32 bytes that both ends have and nobody else: a ``Secret``, bytes (copied), a
    ``Path`` (read when needed, so that replacing the file takes effect), or a function that loads
    it. On a port, ``peer`` is the peer's address to begin with, and ``None`` waits for it to call;
    it is followed wherever its packets come from. ``mtu`` is the largest message in bytes, by
    default what fits the carrier and an Ethernet; ``mtu_discovery`` looks for less. ``tfc`` gives
    all datagrams one size, for messages that are IP packets. Both ends need the same ``shroud``,
    ``tfc``, ``encapsulation`` and ``profile``, and mirrored ``flocks``. ``wall`` is the clock of
    offers (seconds since 1970), which has to agree with the peer's within ten seconds.

    With a ``cathedral``, which needs a port, the peer is found through that, and relayed until a
    path to it was proved. Flocks and SPI prefix are those given there; a ``peer`` given as well is
    fixed; with a KEK no secret is needed.

    It is used with ``async with``, which begins without waiting for the peer; :meth:`ready` waits.
    Sending before it was ever ready is refused, so that no message gets stuck unnoticed behind a
    wrong secret or address. Later, while keys are missing, ``send`` waits for them.

    Messages may get lost or change places, as datagrams do. Over a reliable carrier none does, as
    long as whoever receives isn't late by two minutes, when the tunnel takes the peer for dead.
    """

    reliable = False

    def __init__(
        self,
        carrier: Port | Link,
        secret: Key | None = None,
        peer: Address | None = None,
        *,
        cathedral: Cathedrals | None = None,
        mtu: int | None = None,
        mtu_discovery: bool = False,
        flocks: Flocks = NO_FLOCKS,
        spi_prefix: int = 0,
        shroud: bool = False,
        tfc: bool = False,
        encapsulation: Secret | None = None,
        profile: Profile = CURRENT,
        behaviour: Behaviour = CHANCEL,
        suite: Suite | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        checks.refuse_no_secret(secret, cathedral)
        self._carrier, known = carried(carrier, peer, cathedral is not None)
        settings = SessionSettings(
            known,
            mtu_discovery=mtu_discovery,
            flocks=flocks,
            spi_prefix=spi_prefix,
            profile=profile,
            behaviour=behaviour,
            shroud=shroud,
            tfc=tfc,
            encapsulation=encapsulation,
            cathedral=None if cathedral is None else settings_of(cathedral, secret),
        )
        self._settings = checks.complete(settings, mtu, self._carrier.max_datagram)
        self._suite = SystemSuite() if suite is None else suite
        self._secret = shared_source(secret)
        self._wall = wall
        LinkEndpoint.__init__(self, self._settings.mtu, room=self._has_room)
        Uncopied.__init__(self)
        self._session: Session | None = None
        self._last: SessionStatus | None = None
        self._ended: str | None = None
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()
        self._voice = Voice(self._carrier, self._turn)
        self._news = News()
        self._standing = Standing(self._news)
        self._names = None if cathedral is None else Names(targets_of(cathedral), self._resolved)
        self._lookups: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = self._ended or ("up" if self.is_up else "down")
        return f"<Tunnel to {self.peer} {state}>"

    @property
    def is_up(self) -> bool:
        """Whether a message given now would leave at once."""
        return self._standing.is_up and self._ended is None

    @property
    def peer(self) -> Peer:
        """The other end, authenticated once the tunnel was up."""
        address = self._settings.peer if self._session is None else self._session.peer
        return Peer(self._carrier.name(address), self._standing.proved)

    @property
    def max_message(self) -> int:
        """The largest message in bytes: the MTU, which changes with ``MtuChanged``, or less if
        the link below takes less by now."""
        mtu = self._settings.mtu if self._session is None else self._session.mtu
        return min(mtu, self._carrier.max_datagram - checks.overhead_bytes(self._settings))

    @property
    def drops(self) -> Counter[Drop]:
        """What was refused, by reason, in both directions."""
        session = self.status().session
        drops = Counter() if session is None else Counter(session.drops)
        if self._voice.unsaid:
            drops[Drop.SEND_FAILED] += self._voice.unsaid
        return drops

    def status(self) -> TunnelStatus:
        """A snapshot of this moment, or of the last one."""
        session, fresh = self._last, Counter[Drop]()
        if self._session is not None:
            session = self._session.status(self._now())
            fresh = self._standing.fresh(self._session)
        return TunnelStatus(
            up=self.is_up,
            problem=self._ended or self._voice.refused or self._problem(session, fresh),
            waiting=len(self.inbox),
            lost=self.inbox.lost,
            session=session,
        )

    @property
    def known_peers(self) -> tuple[Address, ...]:
        """Addresses that the peer had, the newest first: for ``Cathedrals.known_peers`` of another
        tunnel, after this one. Of a tunnel that has ended, none."""
        return () if self._session is None else self._session.known_peers()

    def network_changed(self) -> None:
        """Our own address may be another one now: tell the cathedral, and see what still passes.

        A program that hears of such changes calls it; without, it takes seconds longer. That the
        machine has slept is noticed anyway.
        """
        session = self._session
        if session is not None:
            session.network_changed(self._now())
            self._settle(session)
        if self._names is not None:
            self._names.look()

    def events(self) -> AsyncIterator[TunnelEvent]:
        """What happens, as it happens, until the tunnel ends. Each event goes to one reader."""
        return self._news.take()

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until the tunnel is up, for that long at most.

        Raises ``LinkClosed`` where it isn't, with a sentence that says why, as far as that can be
        told; the tunnel goes on trying. Also once the tunnel has ended.
        """
        self._enter()
        self._expect_begun()
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_up()
        except TimeoutError:
            raise LinkClosed(f"no tunnel within {timeout_s:g} s: {self.status().problem}") from None

    async def send(self, message: Buffer) -> None:
        """Send one message; see :meth:`send_batch`."""
        await self.send_batch((message,))

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        """Send several messages in this order; waits for keys where they got lost.

        Raises ``LocalProtocolError`` before the tunnel was ever ready, and for messages that are
        too large, or no IP packets under ``tfc``; ``LinkClosed`` once it has ended.
        """
        self._enter()
        self._check(messages)
        if not self._standing.proved and self._ended is None:
            raise LocalProtocolError(
                f"{self!r} was not ready yet, so nothing can be sent: await tunnel.ready() first"
            )
        run = self._carrier.run
        for at in range(0, len(messages), run):
            await self._send_run(messages[at : at + run])

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``."""
        self._enter()
        self._expect_begun()
        return await self.inbox.take(limit)

    async def wait_closed(self) -> None:
        """Wait until what is below is released."""
        if not self.is_here:
            return
        await self._voice.wait_silent()
        if tasks := [task for task in (self._reader, self._lookups) if task is not None]:
            await asyncio.wait(tasks)
        await self._carrier.wait_closed()

    async def __aenter__(self) -> Self:
        self._enter()
        async with self._turn:
            if self._reader is None:
                self._carrier.take()  # not ours to close if it carries another one
                try:
                    await self._carrier.open()
                except BaseException:
                    self.close()
                    raise
                self._reader = asyncio.create_task(self._read(), name=repr(self))
                self._reader.add_done_callback(self._done_reading)
        return self

    def _enter(self) -> None:
        self.check_process()
        super()._enter()

    def _expect_begun(self) -> None:
        if self._reader is None:
            raise LocalProtocolError(f"{self!r} was not begun: use it with 'async with'")

    def _now(self) -> float:
        assert self._loop is not None, "nothing runs before _enter"
        return self._loop.time()

    def _check(self, messages: Sequence[Buffer]) -> None:
        check_size(max(map(size_of, messages), default=0), self.max_message)
        if self._settings.tfc:
            for message in messages:
                _check_packet(message)

    async def _send_run(self, messages: Sequence[Buffer]) -> None:
        while True:
            await self._until_up()
            async with self._turn:
                session = self._session
                if session is not None and self._still_up(session):
                    session.send_batch(messages, self._now())
                    await self._hand_down(session.datagrams())
                    return

    async def _until_up(self) -> None:
        """Wait for keys. Raises ``LinkClosed``."""
        await self._standing.wait()
        if self._ended is not None:
            raise LinkClosed(self._ended)

    async def _hand_down(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        try:
            await self._carrier.send(datagrams)
        except LocalProtocolError as error:  # somebody else closed it, which the reader will see
            raise LinkClosed(str(error)) from error

    async def _read(self) -> None:
        """The tunnel's task: begin once the carrier is ready, then take what comes.

        It holds no session: a task that was cancelled lives on as long as its tunnel.
        """
        carrier, inbox = self._carrier, self.inbox
        try:
            await carrier.ready()
            self._begin()
            limit = MAX_BATCH
            while True:
                if carrier.reliable:  # then what isn't read is not lost
                    while inbox.full:
                        self._room.clear()
                        await self._room.wait()
                    limit = min(MAX_BATCH, MAX_WAITING - len(inbox))
                self._take(await carrier.receive(limit))
        except (LinkClosed, LocalProtocolError) as error:
            self._finish(str(error))

    def _done_reading(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._finish("the tunnel's task was cancelled: make another tunnel")
            return
        if (error := task.exception()) is None:
            return
        self._finish(f"the tunnel failed: {error!r}")
        context = {"message": "a tunnel failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)

    def _has_room(self) -> None:
        self._room.set()

    def _begin(self) -> None:
        now, wall = self._now(), self._wall()
        self._session = Session(self._settings, self._suite, self._secret, now, wall)
        if self._names is not None:
            self._lookups = asyncio.create_task(self._names.run(), name=f"names of {self!r}")
            self._lookups.add_done_callback(self._done_reading)
        self._wake(now)

    def _take(self, batch: list[tuple[bytes, Address]]) -> None:
        session = self._session
        if session is not None:
            session.receive_batch(batch, self._now(), self._wall())
            self._settle(session)

    def _wake(self, now: float) -> None:
        """The timer's call, for the moment ``now``: a loop may call a little early."""
        session, self._timer = self._session, None
        if session is not None:
            session.wake(max(now, self._now()), self._wall())
            self._settle(session)

    def _resolved(self, cathedrals: tuple[Address, ...]) -> None:
        session = self._session
        if session is not None:
            session.cathedrals_resolved(cathedrals, self._now())
            self._settle(session)

    def _problem(self, session: SessionStatus | None, fresh: Counter[Drop]) -> str | None:
        nameless = None if self._names is None else self._names.problem
        return problem(session, self.is_up, fresh, nameless)

    def _settle(self, session: Session) -> None:
        """Pass on what the session has for others, and arm the timer."""
        payloads = session.received()
        if payloads:
            self.inbox.put_all(payloads)
        self._voice.say(session.datagrams())
        erased = None
        while (event := session.next_event()) is not None:
            self._news.tell(event)
            match event:
                case PeerUnresponsive(silent_s):
                    erased = f"nothing came from the peer for {silent_s:.0f} s"
                case SecretNotShared(waited_s):
                    erased = f"the peer has not come by the new secret within {waited_s:.0f} s"
                case CathedralSilent() if self._names is not None:
                    self._names.look()
        if erased is not None:
            self._fall(f"{erased}, so all keys are erased")
        self._standing.look(session, self._now())
        self._arm(session.wake_at())

    def _arm(self, at: float | None) -> None:
        """One timer, never late. It may be early: then it costs nothing but the call."""
        if at is None or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        assert self._loop is not None
        self._timer = self._loop.call_at(at, self._wake, at)

    def _still_up(self, session: Session) -> bool:
        """Whether there is a key right now; without, the tunnel is down from here."""
        if session.is_up(self._now()):
            return True
        self._fall("the key for sending is too old, and the peer has not agreed on another one")
        return False

    def _fall(self, why: str) -> None:
        if self._session is not None:
            self._standing.fall(self._session, why)

    def _finish(self, why: str) -> None:
        """The end, whoever brought it about. Safe to repeat."""
        if self._ended is not None:
            return
        self._fall(why)
        self._last = self.status().session
        self._ended = why
        self._session = None  # and with it go the keys
        if not self.is_here:  # loop and sockets are those of the process that was forked
            return
        if self._timer is not None:
            self._timer.cancel()
        self._voice.cancel()
        self._carrier.close()
        self.inbox.end(why)
        self._news.end()
        self._standing.end()
        if self._lookups is not None:
            self._lookups.cancel()
        if self._reader is not None:
            self._reader.cancel()

    def _release(self) -> None:
        self._finish("closed at this end")
        self.inbox.end("closed at this end", discard=True)


def _check_packet(message: Buffer) -> None:
    """Raise ``LocalProtocolError`` unless it is an IP packet, whose length is known from itself."""
    try:
        whole = inner_length_untrusted(message) == len(message)
    except RemoteProtocolError:
        whole = False
    if not whole:
        raise LocalProtocolError(
            "with tfc the receiver finds a message's end in its IP header: send whole IP packets,"
            " or leave tfc out at both ends"
        )
