"""One end of a tunnel in one object: the protocol's parts joined by direct calls."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.correspondence import SecretSource
from chancel.protocol.events import MAX_EVENTS, Event, PathChanged, PeerUnresponsive
from chancel.protocol.exchange import Exchange
from chancel.protocol.graces import Graces
from chancel.protocol.messages import EraseKeys, InstallSendKey
from chancel.protocol.opening import Opened, Opener
from chancel.protocol.path import Path
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.states import State
from chancel.protocol.traffic import Sealer
from chancel.wire.datagram import Kind, classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe, decode_untrusted
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import NO_FLOCKS, Address, Buffer, Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a tunnel end is configured with.

    ``peer`` is the initial address, or ``None`` (``peer auto``) to wait for the peer. ``mtu`` is
    the largest inner packet in bytes, or the largest allowed one where ``mtu_discovery`` is on.
    ``spi_prefix`` (16 bit), unless 0, heads every SPI that we choose.
    """

    peer: Address | None
    mtu: int = CURRENT.mtu_maximum
    mtu_discovery: bool = False
    flocks: Flocks = NO_FLOCKS
    spi_prefix: int = 0
    profile: Profile = CURRENT
    behaviour: Behaviour = CHANCEL


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStatus:
    """A snapshot for people. SPIs are 0 and ages ``None`` without a key; seconds throughout."""

    peer: Address | None
    exchange: State
    send_spi: int
    send_age_s: float | None
    send_packets: int
    receive_spi: int
    receive_age_s: float | None
    receive_packets: int
    alive_age_s: float | None
    """Since the last authentic packet."""
    heartbeat_age_s: float | None
    """Since the peer's last heartbeat."""
    mtu: int
    clock_skew_s: float | None
    """The peer's wall clock minus ours; positive means that ours is behind."""
    drops: dict[Drop, int]


class Session:
    """One tunnel end. Feed it, drain it, and wake it when it wants to be woken.

    Nothing that arrives makes it raise: what is refused is counted in :attr:`drops`.
    """

    def __init__(
        self, settings: SessionSettings, suite: Suite, secret: SecretSource, now: float, wall: float
    ) -> None:
        profile, behaviour, flocks = settings.profile, settings.behaviour, settings.flocks
        self._settings = settings
        self._own_drops: Counter[Drop] = Counter()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._path = Path(settings.peer)
        self._sealer = Sealer(flocks, suite, profile)
        self._opener = Opener(flocks, suite, behaviour)
        self._graces = Graces(settings.mtu, settings.mtu_discovery, now, profile)
        self._exchange = Exchange(
            suite,
            secret,
            now,
            wall,
            peer_configured=settings.peer is not None,
            flocks=flocks,
            spi_prefix=settings.spi_prefix,
            profile=profile,
            behaviour=behaviour,
        )
        self._heartbeat_at: float | None = None
        self._outgoing: list[tuple[bytes, Address]] = []
        self._incoming: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Session {self._exchange} {self._sealer} {self._opener} {self._path}>"

    @property
    def drops(self) -> Counter[Drop]:
        """What was refused, by reason, added up over all parts."""
        parts = (self._sealer, self._opener, self._graces, self._exchange)
        return sum((part.drops for part in parts), self._own_drops.copy())

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram."""
        try:
            kind = classify_untrusted(datagram)
        except RemoteProtocolError as error:
            self._own_drops[error.reason] += 1
            return
        if kind is Kind.OFFER:
            self._exchange.receive(datagram, source, now, wall)
        else:
            self._receive_traffic(datagram, source, now)
            exchange_at = self._exchange.wake_at()
            if exchange_at is not None and exchange_at <= now:
                self._exchange.wake(now, wall)
        self._settle(now)

    def send(self, payload: Buffer, now: float) -> bool:
        """Seal one inner packet and queue its datagram; ``False`` (counted) if that can't be."""
        if len(payload) > self._settings.mtu:
            self._own_drops[Drop.SEND_TOO_LARGE] += 1
            return False
        return self._send(payload, NEXT_INNER, now)

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain what is to be sent, and where to."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def received(self) -> list[bytes]:
        """Drain the inner packets that arrived."""
        incoming, self._incoming = self._incoming, []
        return incoming

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once, ``None`` that only a datagram matters."""
        times = (self._exchange.wake_at(), self._graces.wake_at(), self._opener.wake_at())
        return min((at for at in times if at is not None), default=None)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        self._opener.wake(now)
        self._graces.wake(now)
        self._exchange.report(self._opener.report(), now)
        self._exchange.wake(now, wall)
        self._settle(now)

    def status(self, now: float) -> SessionStatus:
        """A snapshot of this moment."""
        sent, received = self._sealer.report(), self._opener.report()
        return SessionStatus(
            peer=self._path.address,
            exchange=self._exchange.state,
            send_spi=sent.spi,
            send_age_s=now - sent.installed_at if sent.spi else None,
            send_packets=sent.packets,
            receive_spi=received.active_spi,
            receive_age_s=now - received.installed_at if received.active_spi else None,
            receive_packets=received.packets,
            alive_age_s=None if received.alive_at is None else now - received.alive_at,
            heartbeat_age_s=None if self._heartbeat_at is None else now - self._heartbeat_at,
            mtu=self._graces.mtu,
            clock_skew_s=self._exchange.clock_skew_s,
            drops=dict(self.drops),
        )

    def _receive_traffic(self, datagram: Buffer, source: Address, now: float) -> None:
        try:
            opened = self._opener.open_untrusted(datagram, now)
        except RemoteProtocolError as error:
            self._opener.drops[error.reason] += 1
            return
        self._observe(source, now)
        if opened.next_ == NEXT_INNER:
            self._incoming.append(opened.payload)
        else:
            self._take_grace(opened, now)
        self._exchange.report(self._opener.report(), now)

    def _take_grace(self, opened: Opened, now: float) -> None:
        try:
            grace = decode_untrusted(opened.payload)
        except RemoteProtocolError as error:
            self._own_drops[error.reason] += 1
            return
        match grace:
            case Heartbeat():
                self._heartbeat_at = now
            case MtuProbe(size):
                self._graces.probe_received(size)
            case MtuAck(size):
                self._graces.ack_received(size, now)

    def _observe(self, source: Address, at: float) -> None:
        if self._path.observe(source, at):
            self._events.append(PathChanged(source))
            self._exchange.path_known(True, at)
            self._graces.path_changed(at)

    def _settle(self, now: float) -> None:
        """Carry over what the parts have for each other; the exchange has done what is due."""
        seen = self._exchange.peer_seen()
        if seen is not None:
            self._observe(seen.address, seen.at)
        for command in self._exchange.commands():
            self._sealer.execute(command, now)
            self._opener.execute(command, now)
            match command:
                case InstallSendKey():
                    self._graces.key_installed(now)
                case EraseKeys():
                    self._graces.key_lost()
        self._queue(self._exchange.datagrams())
        self._take_events()
        self._graces.wake(now)
        for payload in self._graces.payloads():
            self._send(payload, NEXT_GRACE, now)

    def _take_events(self) -> None:
        for part in (self._exchange, self._graces):
            while (event := part.next_event()) is not None:
                self._events.append(event)
                if isinstance(event, PeerUnresponsive) and self._settings.peer is None:
                    self._path.forget()
                    self._events.append(PathChanged(None))

    def _send(self, payload: Buffer, next_: int, now: float) -> bool:
        if self._path.address is None:
            self._own_drops[Drop.NO_PEER] += 1
            return False
        datagram = self._sealer.seal(payload, next_, now)
        if datagram is None:
            self._graces.key_lost()
            return False
        self._queue([datagram])
        return True

    def _queue(self, datagrams: list[bytes]) -> None:
        if not datagrams:
            return
        if self._path.address is None:
            self._own_drops[Drop.NO_PEER] += len(datagrams)
        else:
            self._outgoing += [(datagram, self._path.address) for datagram in datagrams]
