"""One end of a tunnel in one object: the protocol's parts joined by direct calls."""

from __future__ import annotations

import itertools
import operator
from collections import Counter, deque
from collections.abc import Sequence

from chancel.crypto.kdf import peer_shroud_key
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.encapsulation import Encapsulation
from chancel.protocol.events import MAX_EVENTS, Event, PathChanged, PeerUnresponsive
from chancel.protocol.exchange import Exchange
from chancel.protocol.graces import Graces
from chancel.protocol.keeper import Keeper, Mode
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.masking import Mask
from chancel.protocol.messages import EraseKeys, InstallSendKey
from chancel.protocol.opening import Opened, Opener
from chancel.protocol.path import Path
from chancel.protocol.pilgrim import Pilgrim
from chancel.protocol.session_types import SessionSettings, SessionStatus
from chancel.protocol.shrine import Shrine
from chancel.protocol.shroud import Shroud
from chancel.protocol.tfc import Tfc
from chancel.protocol.traffic import Sealer
from chancel.protocol.uncopied import Uncopied
from chancel.wire.datagram import Kind, classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import Address, Buffer

__all__ = ["Session", "SessionSettings", "SessionStatus"]


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
        profile, behaviour, flocks = settings.profile, settings.behaviour, settings.flocks
        if settings.mode is Mode.SHRINE:
            behaviour = behaviour.one_way()
        self._settings = settings
        self._suite = suite
        self._own_drops: Counter[Drop] = Counter()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._path = Path(settings.peer)
        self._sealer = Sealer(flocks, suite, profile)
        self._opener = Opener(flocks, suite, behaviour, profile)
        self._graces = Graces(settings.mtu, settings.mtu_discovery, now, profile)
        overhead = profile.layouts.traffic.overhead_bytes
        self._tfc = Tfc(settings.mtu, overhead) if settings.tfc else None
        self._mask: Mask | None = None
        self._mask_keys = None
        if settings.encapsulation is not None:
            with settings.encapsulation.reveal() as key:
                self._mask = Encapsulation(key, suite)
        if settings.shroud:
            secret = self._mask_keys = MaskKeys(
                secret, lambda revealed: peer_shroud_key(suite, revealed, flocks), now
            )
        self._keeper = _keeper(settings, suite, secret, now, wall)
        self._fills_offers = settings.mode is Mode.TUNNEL and (
            profile.tfc_fills_bare_offers or settings.masked
        )
        self._heartbeat_at: float | None = None
        self._outgoing: list[tuple[bytes, Address]] = []
        self._incoming: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Session {self._keeper} {self._sealer} {self._opener} {self._path}>"

    @property
    def drops(self) -> Counter[Drop]:
        """What was refused, by reason, added up over all parts."""
        parts = (self._sealer, self._opener, self._graces, self._keeper)
        return sum((part.drops for part in parts), self._own_drops.copy())

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
            and (self._mask is not None or not self._settings.masked)
            and self._sealer.left(now) > 0
        )

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram."""
        try:
            if self._settings.masked:
                datagram = self._unmasked_untrusted(datagram)
            kind = classify_untrusted(datagram, self._settings.profile.layouts)
        except RemoteProtocolError as error:
            self._own_drops[error.reason] += 1
            return
        if kind is Kind.OFFER:
            self._keeper.receive(datagram, source, now, wall)
            self._settle(now)
        else:
            self._receive_traffic(datagram, source, now)
            self._attend(now, wall)

    def receive_batch(
        self, batch: Sequence[tuple[Buffer, Address]], now: float, wall: float
    ) -> None:
        """Take untrusted datagrams with their sources, in order of arrival."""
        if self._settings.masked:
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
        return self._send(payload, NEXT_INNER, now)

    def send_batch(self, payloads: Sequence[Buffer], now: float) -> int:
        """Seal inner packets in this order; how many, without those counted as dropped."""
        sealed = 0
        if self._path.address is not None and max(map(len, payloads), default=0) <= self.mtu_limit:
            whole = payloads if self._tfc is None else [self._tfc.fill(each) for each in payloads]
            datagrams = self._sealer.seal_run(whole, NEXT_INNER, now)
            self._queue(datagrams)
            sealed = len(datagrams)
        return sealed + sum(self.send(payload, now) for payload in payloads[sealed:])

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain what is to be sent, and where to."""
        self.check_process()
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
        times = [self._keeper.wake_at(), self._graces.wake_at(), self._opener.wake_at()]
        if self._mask_keys is not None:
            times.append(self._mask_keys.wake_at())
        return min((at for at in times if at is not None), default=None)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        self._opener.wake(now)
        self._graces.wake(now)
        if self._mask_keys is not None:
            self._mask_keys.wake(now)
        self._keeper.report(self._opener.report(), now)
        self._keeper.wake(now, wall)
        self._settle(now)

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
            case MtuAck(size):
                self._graces.ack_received(size, now)

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

    def _observe(self, source: Address, at: float) -> None:
        if self._path.observe(source, at):
            self._events.append(PathChanged(source))
            self._keeper.path_known(True, at)
            self._graces.path_changed(at)

    def _settle(self, now: float) -> None:
        """Carry over what the parts have for each other; the keeper has done what is due."""
        self._take_mask()
        seen = self._keeper.peer_seen()
        if seen is not None:
            self._observe(seen.address, seen.at)
        for command in self._keeper.commands():
            self._sealer.execute(command, now)
            self._opener.execute(command, now)
            match command:
                case InstallSendKey():
                    self._graces.key_installed(now)
                case EraseKeys():
                    self._graces.key_lost()
        offers = self._keeper.datagrams()
        if self._tfc is not None and self._fills_offers:
            offers = [self._tfc.fill_offer(offer, self._suite) for offer in offers]
        self._queue(offers)
        self._take_events()
        self._graces.wake(now)
        for payload in self._graces.payloads():
            self._send(payload, NEXT_GRACE, now)

    def _take_events(self) -> None:
        parts: list[Keeper | Graces | MaskKeys] = [self._keeper, self._graces]
        if self._mask_keys is not None:
            parts.append(self._mask_keys)
        for part in parts:
            while (event := part.next_event()) is not None:
                self._events.append(event)
                if isinstance(event, PeerUnresponsive) and self._settings.peer is None:
                    self._path.forget()
                    self._events.append(PathChanged(None))

    def _send(self, payload: Buffer, next_: int, now: float) -> bool:
        if self._path.address is None:
            self._own_drops[Drop.NO_PEER] += 1
            return False
        if self._tfc is not None:
            payload = self._tfc.fill(payload)
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
            return
        if self._settings.masked:
            mask = self._mask
            if mask is None:
                self._own_drops[Drop.NO_MASK] += len(datagrams)
                return
            datagrams = [mask.wrap(datagram, self._graces.safe_mtu) for datagram in datagrams]
        self._outgoing += [(datagram, self._path.address) for datagram in datagrams]

    def _unmasked_untrusted(self, datagram: Buffer) -> bytes:
        """Raises ``RemoteProtocolError``: ``NO_MASK``, and what the mask raises."""
        if self._mask is None:
            raise RemoteProtocolError(Drop.NO_MASK)
        return self._mask.unwrap(datagram)

    def _take_mask(self) -> None:
        """Use the newest key of the mask."""
        if self._mask_keys is not None:
            for command in self._mask_keys.commands():
                self._mask = Shroud(command.key, self._suite)


def _keeper(
    settings: SessionSettings, suite: Suite, secret: SecretSource, now: float, wall: float
) -> Keeper:
    """The machine that makes the keys in the mode at hand."""
    profile, behaviour = settings.profile, settings.behaviour
    match settings.mode:
        case Mode.PILGRIM:
            return Pilgrim(suite, secret, now, wall, profile=profile, behaviour=behaviour)
        case Mode.SHRINE:
            return Shrine(suite, secret, now, profile=profile)
        case Mode.TUNNEL:
            return Exchange(
                suite,
                secret,
                now,
                wall,
                peer_configured=settings.peer is not None,
                flocks=settings.flocks,
                spi_prefix=settings.spi_prefix,
                profile=profile,
                behaviour=behaviour,
            )
