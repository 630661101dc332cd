"""Two real sessions, the network between them, and a clock that jumps to the next thing to do."""

from __future__ import annotations

import dataclasses
import enum
import heapq
import itertools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from chancel.crypto.kdf import Purpose
from chancel.crypto.system import SystemSuite
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.keeper import Mode
from chancel.protocol.key_offers import open_key_offer_untrusted
from chancel.protocol.offers import ExchangeOffer, open_exchange_offer_untrusted
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.session import Session, SessionEvent, SessionSettings, SessionStatus
from chancel.vault.secret import Secret
from chancel.wire.datagram import Kind as Datagram
from chancel.wire.datagram import classify_untrusted
from chancel.wire.offer import OfferState
from chancel.wire.types import NO_FLOCKS, Address, Flocks

E = TypeVar("E")

SECRET = bytes(range(32))
SUITE = SystemSuite()
WALL = 1_760_000_000.0
LATENCY_S = 0.01
MAX_WAKES_WITHOUT_TIME = 100


class Kind(enum.Enum):
    """What a datagram carries, as one sees who knows the secret."""

    PK = "PK"
    CT = "CT"
    KEY = "key"
    TRAFFIC = "traffic"
    MASKED = "masked"


class Packet(NamedTuple):
    """A datagram under way."""

    sender: End
    data: bytes
    kind: Kind
    sent_at: float


class End:
    """One tunnel end with its address and its clocks."""

    def __init__(self, name: str, address: Address, settings: SessionSettings) -> None:
        self.name = name
        self.address = address
        self.settings = settings
        self.skew_s = 0.0
        self.received: list[bytes] = []
        self.events: list[SessionEvent] = []
        self.peer: End
        self.session: Session

    def start(self, now: float) -> None:
        self.session = Session(self.settings, SUITE, lambda: Secret(SECRET), now, self.wall(now))
        self.events.clear()

    def wall(self, now: float) -> float:
        return WALL + now + self.skew_s

    def happened(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def __repr__(self) -> str:
        return f"<{self.name} {self.session}>"


class Pair:
    """``left`` and ``right`` on a network that loses what ``lose`` says."""

    def __init__(
        self,
        left: Behaviour = CHANCEL,
        right: Behaviour = CHANCEL,
        *,
        right_knows_left: bool = True,
        flocks: Flocks = NO_FLOCKS,
        mtu_discovery: bool = False,
        profile: Profile = CURRENT,
        modes: tuple[Mode, Mode] = (Mode.TUNNEL, Mode.TUNNEL),
        shroud: bool = False,
        tfc: bool = False,
        mtu: int = CURRENT.mtu_maximum,
        encapsulation: Secret | None = None,
    ) -> None:
        here, there = Address("192.0.2.1", 1001), Address("192.0.2.2", 1002)
        mirrored = Flocks(flocks.peer, flocks.own)
        self.now = 100.0
        common = SessionSettings(
            None,
            mtu,
            mtu_discovery,
            profile=profile,
            shroud=shroud,
            tfc=tfc,
            encapsulation=encapsulation,
        )
        settings = [
            dataclasses.replace(common, peer=peer, behaviour=behaviour, flocks=own, mode=mode)
            for peer, behaviour, own, mode in (
                (there, left, flocks, modes[0]),
                (here if right_knows_left else None, right, mirrored, modes[1]),
            )
        ]
        self.left = End("left", here, settings[0])
        self.right = End("right", there, settings[1])
        self.left.peer, self.right.peer = self.right, self.left
        self.lose: Callable[[Packet], bool] = lambda packet: False
        self.log: list[Packet] = []
        self._flying: list[tuple[float, int, Packet]] = []
        self._order = itertools.count()
        for end in self.ends:
            end.start(self.now)

    @property
    def ends(self) -> tuple[End, End]:
        return self.left, self.right

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.until(lambda: False, seconds)

    def until(self, done: Callable[[], bool], within: float) -> float:
        """Let time pass until ``done`` or ``within`` seconds; returns how many it took."""
        start, wakes = self.now, 0
        deadline = start + within
        while not done():
            at = min([*(self._due(end) for end in self.ends), deadline])
            if self._flying:
                at = min(at, self._flying[0][0])
            wakes = wakes + 1 if at <= self.now else 0
            assert wakes < MAX_WAKES_WITHOUT_TIME, f"time stands still: {self.ends}"
            self.now = max(self.now, at)
            if self.now >= deadline:
                break
            self._step()
        return self.now - start

    def up(self) -> bool:
        """Whether each end has sent under its key and the other one has opened it."""
        return all(self.works(end) for end in self.ends)

    def works(self, end: End) -> bool:
        """Whether the peer of ``end`` has opened something under the key ``end`` sends with."""
        sent, got = self.status(end), self.status(end.peer)
        return sent.send_spi != 0 and (sent.send_spi, True) == (
            got.receive_spi,
            got.receive_packets > 0,
        )

    def status(self, end: End) -> SessionStatus:
        return end.session.status(self.now)

    def send(self, end: End, payload: bytes) -> bool:
        sent = end.session.send(payload, self.now)
        self._drain(end)
        return sent

    def deliver(self, end: End, data: bytes, source: Address | None = None) -> None:
        """Hand a datagram over by hand, from wherever."""
        end.session.receive(data, source or end.peer.address, self.now, end.wall(self.now))
        self._drain(end)

    def _due(self, end: End) -> float:
        at = end.session.wake_at()
        return float("inf") if at is None else at

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            packet = heapq.heappop(self._flying)[2]
            self.deliver(packet.sender.peer, packet.data, packet.sender.address)
        for end in self.ends:
            if self._due(end) <= self.now:
                end.session.wake(self.now, end.wall(self.now))
                self._drain(end)

    def _drain(self, end: End) -> None:
        for data, destination in end.session.datagrams():
            packet = Packet(end, data, kind_of(data, end.settings), self.now)
            self.log.append(packet)
            if destination == end.peer.address and not self.lose(packet):
                arrival = (self.now + LATENCY_S, next(self._order), packet)
                heapq.heappush(self._flying, arrival)
        end.received += end.session.received()
        while (event := end.session.next_event()) is not None:
            end.events.append(event)


PLAIN = SessionSettings(None)


def kind_of(data: bytes, settings: SessionSettings = PLAIN) -> Kind:
    if settings.masked:
        return Kind.MASKED
    profile = settings.profile
    if classify_untrusted(data, profile.layouts) is Datagram.TRAFFIC:
        return Kind.TRAFFIC
    base_key = profile.keys.base_key
    if settings.mode is Mode.PILGRIM:
        base = base_key(SUITE, Purpose.PEER_OFFER, SECRET, NO_FLOCKS)
        open_key_offer_untrusted(SUITE, base, data, profile.layouts.offer)
        return Kind.KEY
    offer = exchange_offer(data, settings)
    return Kind.PK if offer.body.state is OfferState.PK else Kind.CT


def exchange_offer(data: bytes, settings: SessionSettings = PLAIN) -> ExchangeOffer:
    """What an exchange offer says to one who knows the secret."""
    profile = settings.profile
    base = profile.keys.base_key(SUITE, Purpose.PEER_OFFER, SECRET, settings.flocks)
    return open_exchange_offer_untrusted(SUITE, base, data, profile.layouts.offer)
