"""One end of a tunnel in one object: the protocol's parts joined by direct calls."""

from __future__ import annotations

import itertools
import operator
from collections import Counter, deque
from collections.abc import Sequence

from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.dispatch import Dispatch
from chancel.protocol.events import (
    MAX_EVENTS,
    PathChanged,
    PathDirect,
    PathRelayed,
    PeerUnresponsive,
)
from chancel.protocol.exchange import Exchange
from chancel.protocol.graces import Graces
from chancel.protocol.keeper import Keeper, Mode
from chancel.protocol.membership import Membership, SharedSecret
from chancel.protocol.messages import EraseKeys, InstallSendKey
from chancel.protocol.opening import Opened, Opener
from chancel.protocol.path import Path
from chancel.protocol.path_trial import OPENER
from chancel.protocol.session_masks import Masks
from chancel.protocol.session_parts import make_keeper, make_path
from chancel.protocol.session_types import (
    CathedralSettings,
    CathedralStatus,
    SessionEvent,
    SessionSettings,
    SessionStatus,
)
from chancel.protocol.tfc import Tfc
from chancel.protocol.traffic import Sealer
from chancel.protocol.uncopied import Uncopied
from chancel.protocol.whereabouts import Whereabouts
from chancel.wire.datagram import Kind, classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import Address, Buffer

__all__ = [
    "CathedralSettings",
    "CathedralStatus",
    "Session",
    "SessionEvent",
    "SessionSettings",
    "SessionStatus",
]


class Session(Uncopied):
    """One tunnel end. Feed it, drain it, and wake it when it wants to be woken.

    Nothing that arrives makes it raise: what is refused is counted in :attr:`drops`. The calls for
    batches do what the same calls one by one would do, faster. In a forked child nothing can be
    sent: ``LocalProtocolError``.
    """

    def __init__(
        self, settings: SessionSettings, suite: Suite, secret: SecretSource, now: float, wall: float
    ) -> None:
        super().__init__()
        settings = settings.settled()
        profile, behaviour, flocks = settings.profile, settings.behaviour, settings.flocks
        if settings.mode is Mode.SHRINE:
            behaviour = behaviour.one_way()
        self._settings = settings
        self._own_drops: Counter[Drop] = Counter()
        self._events: deque[SessionEvent] = deque(maxlen=MAX_EVENTS)
        self._sealer = Sealer(flocks, suite, profile)
        self._opener = Opener(flocks, suite, behaviour, profile)
        self._graces = Graces(settings.mtu, settings.mtu_discovery, now, profile)
        overhead = profile.layouts.traffic.overhead_bytes
        self._tfc = Tfc(settings.mtu, overhead) if settings.tfc else None
        shared = SharedSecret(secret)
        self._path, is_relay = make_path(settings, now)
        self._masks = None
        if settings.masked:
            self._masks = Masks(settings, suite, shared, now, is_relay, self._opener.recognises)
        source = shared if self._masks is None else self._masks.secret
        self._keeper = make_keeper(settings, suite, source, now, wall)
        self._dispatch = Dispatch(
            settings, suite, self._sealer, self._graces, self._tfc, self._masks
        )
        self._membership: Membership | None = None
        if settings.cathedral is not None:
            assert isinstance(self._path, Whereabouts), "see make_path"
            assert isinstance(self._keeper, Exchange), "see settled()"
            self._membership = Membership(
                settings.cathedral, suite, shared, self._path, self._keeper, now, wall
            )
        self._heartbeat_at: float | None = None
        self._incoming: list[bytes] = []
        self._settle(now)

    def __repr__(self) -> str:
        return f"<Session {self._keeper} {self._sealer} {self._opener} {self._path}>"

    @property
    def drops(self) -> Counter[Drop]:
        """What was refused, by reason, added up over all parts."""
        parts = (self._sealer, self._opener, self._graces, self._keeper, self._dispatch)
        drops = sum((part.drops for part in parts), self._own_drops.copy())
        return drops if self._membership is None else drops + self._membership.registration.drops

    @property
    def peer(self) -> Address | None:
        """Where the peer is; ``None`` where that is unknown."""
        return self._path.address

    @property
    def heard(self) -> bool:
        """Whether any authentic packet has come yet."""
        return self._opener.report().alive_at is not None

    @property
    def mtu(self) -> int:
        """The MTU in force, in bytes: what was configured, or found out since."""
        return self._graces.mtu

    @property
    def mtu_limit(self) -> int:
        """The largest payload that is ever sent, in bytes."""
        return self._settings.mtu

    def is_up(self, now: float) -> bool:
        """Whether there are keys for both directions, and a packet given now would leave."""
        return (
            self._opener.active is not None
            and self._path.address is not None
            and (self._masks is None or self._masks.ready(self._path.address))
            and self._sealer.left(now) > 0
        )

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram."""
        try:
            if self._masks is not None:
                datagram = self._masks.unwrap_untrusted(datagram, source, now)
            kind = classify_untrusted(datagram, self._settings.profile.layouts)
        except RemoteProtocolError as error:
            self._own_drops[error.reason] += 1
            return
        if kind is Kind.OFFER:
            self._keeper.receive(datagram, source, now, wall)
            self._settle(now)
        elif kind is Kind.CATHEDRAL and self._membership is not None:
            self._membership.registration.receive(datagram, source, now, wall)
            self._settle(now)
        else:
            self._receive_traffic(datagram, source, now)
            self._attend(now, wall)

    def receive_batch(
        self, batch: Sequence[tuple[Buffer, Address]], now: float, wall: float
    ) -> None:
        """Take untrusted datagrams with their sources, in order of arrival."""
        if self._masks is not None:
            for datagram, source in batch:
                self.receive(datagram, source, now, wall)
            return
        for source, group in itertools.groupby(batch, operator.itemgetter(1)):
            self._receive_group([datagram for datagram, _ in group], source, now, wall)

    def send(self, payload: Buffer, now: float) -> bool:
        """Seal one inner packet and queue its datagram; ``False`` (counted) if that can't be."""
        if len(payload) > self.mtu_limit:
            self._own_drops[Drop.SEND_TOO_LARGE] += 1
            return False
        return self._dispatch.packet(payload, NEXT_INNER, self._path.address, now)

    def send_batch(self, payloads: Sequence[Buffer], now: float) -> int:
        """Seal inner packets in this order; how many, without those counted as dropped."""
        sealed, address = 0, self._path.address
        if address is not None and max(map(len, payloads), default=0) <= self.mtu_limit:
            sealed = self._dispatch.run(payloads, address, now)
        return sealed + sum(self.send(payload, now) for payload in payloads[sealed:])

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain what is to be sent, and where to."""
        self.check_process()
        return self._dispatch.drain()

    def received(self) -> list[bytes]:
        """Drain the inner packets that arrived."""
        incoming, self._incoming = self._incoming, []
        return incoming

    def next_event(self) -> SessionEvent | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once, ``None`` that only a datagram matters."""
        times = [self._keeper.wake_at(), self._graces.wake_at(), self._opener.wake_at()]
        if self._masks is not None:
            times.append(self._masks.wake_at())
        if self._membership is not None:
            times.append(self._membership.wake_at())
        return min([at for at in times if at is not None], default=None)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        self._opener.wake(now)
        self._graces.wake(now)
        if self._masks is not None:
            self._masks.wake(now)
        self._keeper.report(self._opener.report(), now)
        self._keeper.wake(now, wall)
        if self._membership is not None:
            self._membership.report_keys(self._opener, now)
            self._membership.registration.wake(now, wall)
        self._settle(now)

    def cathedrals_resolved(self, cathedrals: Sequence[Address], now: float) -> None:
        """The configured names of cathedrals have these addresses by now. May want a wake at once.

        Raises ``LocalProtocolError`` for a session without cathedrals.
        """
        if self._membership is None:
            raise LocalProtocolError("this session has no cathedrals: give it CathedralSettings")
        self._membership.registration.resolved(cathedrals, now)
        self._settle(now)

    def network_changed(self, now: float) -> None:
        """Our own address may have changed: tell the cathedral, and the peer, soon. May want a wake
        at once; nothing is to be done without a cathedral.
        """
        if self._membership is not None:
            self._membership.network_changed(now)

    def known_peers(self) -> tuple[Address, ...]:
        """The addresses that the peer had lately, the newest first: for another session's start."""
        return () if self._membership is None else self._membership.whereabouts.recent()

    def status(self, now: float) -> SessionStatus:
        """A snapshot of this moment."""
        sent, received = self._sealer.report(), self._opener.report()
        return SessionStatus(
            peer=self._path.address,
            exchange=self._keeper.state,
            send_spi=sent.spi,
            send_age_s=now - sent.installed_at if sent.spi else None,
            send_packets=sent.packets,
            receive_spi=received.active_spi,
            receive_age_s=now - received.installed_at if received.active_spi else None,
            receive_packets=received.packets,
            alive_age_s=None if received.alive_at is None else now - received.alive_at,
            heartbeat_age_s=None if self._heartbeat_at is None else now - self._heartbeat_at,
            mtu=self._graces.mtu,
            clock_skew_s=self._keeper.clock_skew_s,
            drops=dict(self.drops),
            cathedral=None if self._membership is None else self._membership.status(now),
        )

    def _receive_group(
        self, datagrams: list[Buffer], source: Address, now: float, wall: float
    ) -> None:
        """Datagrams from one address: runs of ordinary packets as one, all else one by one."""
        while datagrams:
            quiet = source == self._path.address and not self._is_due(now)
            payloads = self._opener.open_run_untrusted(datagrams, now) if quiet else []
            if payloads:
                self._observe(source, now)
                self._take_inner_untrusted(payloads)
                self._keeper.report(self._opener.report(), now)
                self._attend(now, wall)
            rest = datagrams[len(payloads) :]
            if rest:
                self.receive(rest[0], source, now, wall)
            datagrams = rest[1:]

    def _is_due(self, now: float) -> bool:
        """Whether something waits that the next datagram, and not the last of many, sets going."""
        at = self.wake_at()
        return at is not None and at <= now

    def _attend(self, now: float, wall: float) -> None:
        """After traffic: let the keeper do what is due because of it, and carry over."""
        keeper_at = self._keeper.wake_at()
        if keeper_at is not None and keeper_at <= now:
            self._keeper.wake(now, wall)
        self._settle(now)

    def _receive_traffic(self, datagram: Buffer, source: Address, now: float) -> None:
        try:
            opened = self._opener.open_untrusted(datagram, now)
        except RemoteProtocolError as error:
            self._opener.drops[error.reason] += 1
            return
        self._observe(source, now)
        try:
            self._take_untrusted(opened, now)
        except RemoteProtocolError as error:
            self._own_drops[error.reason] += 1
        self._keeper.report(self._opener.report(), now)

    def _take_untrusted(self, opened: Opened, now: float) -> None:
        """Take an authentic payload. Raises ``RemoteProtocolError`` for one without sense."""
        if opened.next_ == NEXT_INNER:
            self._take_inner_untrusted([opened.payload])
            return
        match self._settings.profile.graces.decode_untrusted(opened.payload):
            case Heartbeat():
                self._heartbeat_at = now
            case MtuProbe(size):
                self._graces.probe_received(size)
                if self._membership is not None:
                    self._membership.whereabouts.probe_received()
            case MtuAck(size):
                self._take_ack(size, now)

    def _take_inner_untrusted(self, payloads: list[bytes]) -> None:
        """Take authentic inner packets; where all have one size, only what is packet in them."""
        tfc = self._tfc
        if tfc is None:
            self._incoming += payloads
            return
        for payload in payloads:
            try:
                self._incoming.append(tfc.cut_untrusted(payload))
            except RemoteProtocolError as error:
                self._own_drops[error.reason] += 1

    def _take_ack(self, size: int, now: float) -> None:
        """An acknowledgement is one of a path, or one of the MTU."""
        member = self._membership
        if member is None or not member.whereabouts.probe_answered(size, now):
            self._graces.ack_received(size, now)

    def _observe(self, source: Address, at: float) -> None:
        self._path.observe(source, at)
        if self._path.changed():
            self._moved(at)

    def _moved(self, now: float) -> None:
        """Tell everybody that the peer's address is another one."""
        path = self._path
        if isinstance(path, Path):
            self._events.append(PathChanged(path.address))
        elif path.direct and path.address is not None:
            self._events.append(PathDirect(path.address))
        else:
            self._events.append(PathRelayed(path.address))
        self._keeper.path_known(path.address is not None, now)
        self._graces.path_changed(now)

    def _settle(self, now: float) -> None:
        """Carry over what the parts have for each other; the keeper has done what is due."""
        if self._masks is not None:
            self._masks.take()
        seen = self._keeper.peer_seen()
        if seen is not None:
            self._observe(seen.address, seen.at)
        self._execute(now)
        offers = self._keeper.datagrams()
        if offers:
            self._dispatch.offers(offers, self._path.offers_to(now), now)
        self._take_events(now)
        self._graces.wake(now)
        for payload in self._graces.acknowledgements():
            for target in self._path.acknowledgements_to():
                self._dispatch.packet(payload, NEXT_GRACE, target, now)
        for payload in self._graces.payloads():
            self._dispatch.packet(payload, NEXT_GRACE, self._path.address, now)
        if self._membership is not None:
            self._settle_member(self._membership, now)

    def _execute(self, now: float) -> None:
        """Install keys and erase them, as the keeper commands."""
        for command in self._keeper.commands():
            self._sealer.execute(command, now)
            self._opener.execute(command, now)
            match command:
                case InstallSendKey():
                    self._graces.key_installed(now)
                    if self._membership is not None:
                        self._membership.whereabouts.key_installed(now)
                case EraseKeys():
                    self._graces.key_lost()

    def _settle_member(self, member: Membership, now: float) -> None:
        """The same for the parts that there are with a cathedral alone."""
        member.report_keys(self._opener, now)
        if member.settle(now) and self._masks is not None:
            self._masks.secret_replaced(now)
        for offer, destination in member.registration.datagrams():
            self._dispatch.offers([offer], (destination,), now)
        whereabouts = member.whereabouts
        whereabouts.wake(now)
        if whereabouts.changed():
            self._moved(now)
        probes, candidate = whereabouts.probes(), whereabouts.candidate
        if self._sealer.left(now) > 0:
            for payload in probes:
                self._dispatch.packet(payload, NEXT_GRACE, candidate, now)
        elif probes and candidate is not None:
            self._dispatch.offers([OPENER], (candidate,), now)
        while (event := member.next_event()) is not None:
            self._events.append(event)

    def _take_events(self, now: float) -> None:
        parts: list[Keeper | Graces | Masks] = [self._keeper, self._graces]
        if self._masks is not None:
            parts.append(self._masks)
        for part in parts:
            while (event := part.next_event()) is not None:
                self._events.append(event)
                if isinstance(event, PeerUnresponsive):
                    self._path.give_up(now)
                elif self._membership is not None:
                    self._membership.happened(event, now)
                if self._path.changed():
                    self._moved(now)
