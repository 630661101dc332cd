"""Cathedrals and their clients in one process: what a client says, hears, and how it all moves."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.kdf import cathedral_shroud_key, shroud_base_identity
from chancel.crypto.kdf_cathedral import client_offer_base, federation_offer_base
from chancel.errors import VaultError
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.events import CathedralEvent
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.protocol.cathedral_offers import (
    Opened,
    open_answer_untrusted,
    open_federated_untrusted,
    seal_request,
)
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import Marks
from chancel.vault.secret import Secret
from chancel.wire import offer
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT, Answer, Federated, Request
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.info import InfoBody
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.offer import OfferHeader, OfferLayout
from chancel.wire.traffic import CURRENT, TrafficHeader
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi

WALL = 1_800_000_000.0
FLOCK = FlockId(0xCAFEBA00)
OTHER = FlockId(0xDECAF000)
OWN_FLOCKS = Flocks(FLOCK, FLOCK)
SAME_AS_DEVICE = CathedralId(0)
FIRST, SECOND = InstanceId(1), InstanceId(2)
SYNC = bytes(range(100, 132))
HERE = Address("192.0.2.1", 31337)
THERE = Address("192.0.2.2", 1337)
MTU = 1373


def secret_of(flock: FlockId, identity: CathedralId) -> bytes:
    """Another one for each identity of each flock."""
    return (flock >> 8).to_bytes(28, "big") + identity.to_bytes(4, "big")


class Keys:
    """Any identity has keys here, but those that are ``lost``."""

    def __init__(self) -> None:
        self.lost: set[CathedralId] = set()
        self.asked: Counter[CathedralId] = Counter()
        self._secrets: dict[tuple[FlockId, CathedralId], Secret] = {}

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        self._find(identity)
        if (flock, identity) not in self._secrets:
            self._secrets[flock, identity] = Secret(secret_of(flock, identity))
        return self._secrets[flock, identity]

    def replace(self, flock: FlockId, identity: CathedralId, secret: bytes) -> None:
        self._secrets[flock, identity] = Secret(secret)

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        self._find(identity)
        return cosk_of(identity)[32:]

    def _find(self, identity: CathedralId) -> None:
        self.asked[identity] += 1
        if identity in self.lost:
            raise VaultError(f"{identity:08x}.key: is lost")


@functools.cache
def cosk_of(identity: CathedralId) -> bytes:
    """The COSK of an identity, the same in each of its flocks."""
    seed = identity.to_bytes(32, "big")
    return seed + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


@dataclasses.dataclass
class Device:
    """One end of one tunnel, and the client that registers it."""

    number: int
    peer: int
    address: Address
    flocks: Flocks = OWN_FLOCKS
    identity: CathedralId = SAME_AS_DEVICE
    instance: InstanceId = FIRST
    receiving: Spi | None = None
    pending: Spi | None = None
    generation: int = 0
    remembers: bool = False
    skips_ambry: bool = True
    proves_paths: bool = False

    def __post_init__(self) -> None:
        self.identity = self.identity or CathedralId(self.number)
        self.suite = SeededSuite(repr(self).encode())
        secret = secret_of(FlockId(self.flocks.own & ~0xFF), self.identity)
        self.base = client_offer_base(self.suite, secret, self.flocks.own)
        self.shroud = Shroud(cathedral_shroud_key(self.suite, secret, self.flocks), self.suite)
        base = shroud_base_identity(self.suite, self.flocks, self.identity)
        self.marks = Marks(self.suite, base)

    @property
    def tunnel(self) -> TunnelId:
        return TunnelId(self.number << 8 | self.peer)

    def says(self, body: Request, wall: float, layout: OfferLayout = CATHEDRAL) -> bytes:
        cosk, timestamp = cosk_of(self.identity), int(wall)
        return seal_request(
            *(self.suite, self.base, self.flocks, self.identity, timestamp, body, cosk, layout)
        )

    def info(self, wall: float, layout: OfferLayout = CATHEDRAL) -> bytes:
        body = InfoBody(
            *(self.tunnel, self.instance, self.generation, self.receiving, self.pending),
            *(self.remembers, self.skips_ambry, self.proves_paths),
        )
        return self.says(body, wall, layout)

    def probe(self, wall: float) -> bytes:
        return self.info(wall, NAT)

    def liturgy(
        self,
        wall: float,
        *wanted: int,
        group: int = 0,
        hidden: bool = False,
        signaling: bool = False,
        layout: OfferLayout = CATHEDRAL,
    ) -> bytes:
        peers = bytes(id_ in wanted for id_ in range(PEERS_BYTES))
        body = LiturgyBody(self.number, group, peers, hidden, self.remembers, signaling)
        return self.says(body, wall, layout)

    def hears(self, datagram: bytes) -> Opened[Answer]:
        return open_answer_untrusted(self.suite, self.base, self.identity, datagram)

    def traffic(self, spi: Spi, size: int = 100) -> bytes:
        """A packet that this end sends; its peer receives under ``spi``."""
        return CURRENT.encode(TrafficHeader(spi, 1, *self.flocks)).ljust(size, b"\x55")

    def exchange(self, size: int = offer.OFFER_BYTES) -> bytes:
        """An offer of a key exchange, for its peer."""
        header = OfferHeader(Spi(self.tunnel << 16 | 7), self.flocks, bytes(64))
        return offer.CURRENT.encode(header).ljust(size, b"\x66")

    def masked(self, datagram: bytes, now: float) -> bytes:
        return self.shroud.wrap(datagram, MTU, self.marks.current(now))


class Parish:
    """One cathedral, its clock and its clients; all that it sent."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        address: Address = HERE,
        p2p_sync: bool = False,
        shroud: bool = False,
        tfc: bool = False,
    ) -> None:
        self.now = 1000.0
        self.wall_offset = WALL
        self.keys = Keys()
        self.sync: Secret | None = Secret(SYNC)
        self.sync_asked = 0
        self.suite = SeededSuite(str(address).encode())
        self.address = address
        self.options = Options(address, MTU, p2p_sync=p2p_sync, shroud=shroud, tfc=tfc)
        self.settings = settings or flock()
        self.cathedral = Cathedral(
            *(self.suite, self.options, self.keys, self._sync, self.settings, self.now)
        )

    def _sync(self) -> Secret:
        self.sync_asked += 1
        if self.sync is None:
            raise VaultError("sync.key: is lost")
        return self.sync

    @property
    def wall(self) -> float:
        return self.wall_offset + self.now

    @property
    def drops(self) -> dict[Drop, int]:
        return dict(self.cathedral.drops)

    def events(self) -> list[CathedralEvent]:
        return list(iter(self.cathedral.next_event, None))

    def after(self, seconds: float) -> None:
        """Let time pass, waking it as it wants."""
        until = self.now + seconds
        while self.cathedral.wake_at() <= until:
            self.now = self.cathedral.wake_at()
            self.cathedral.wake(self.now, self.wall)
        self.now = until

    def give(self, datagram: bytes, source: Address) -> list[tuple[bytes, Address]]:
        """One datagram, and what it caused."""
        self.cathedral.receive(datagram, source, self.now, self.wall)
        return self.cathedral.datagrams()

    def refused(self, datagram: bytes, source: Address) -> Drop:
        """One datagram, and why it was dropped; nothing is sent."""
        before = self.cathedral.drops.copy()
        assert self.give(datagram, source) == []
        [(reason, times)] = (self.cathedral.drops - before).items()
        assert times == 1
        return reason

    def registers(self, device: Device) -> list[Answer]:
        """An info of this device, and what it hears."""
        return self.answers(device, device.info(self.wall))

    def answers(self, device: Device, datagram: bytes) -> list[Answer]:
        """What the device hears after it sent this."""
        return [
            device.hears(answer).body
            for answer, to in self.give(datagram, device.address)
            if to == device.address
        ]

    def takes(self, datagram: bytes, source: Address) -> None:
        """One datagram that is not refused and not answered."""
        before = self.drops
        assert self.give(datagram, source) == []
        assert self.drops == before


def flock(*allows: Allow, federation: tuple[Address, ...] = ()) -> Settings:
    """Settings with one flock; without ``allows``, each device may be registered by its number."""
    known = allows or tuple(Allow(CathedralId(number), number, 0) for number in range(1, 256))
    return Settings({FLOCK: FlockSettings(FLOCK, known)}, {}, federation)


def left() -> Device:
    return Device(1, 2, Address("198.51.100.1", 5001), receiving=Spi(0x0102_0001))


def right() -> Device:
    return Device(2, 1, Address("203.0.113.2", 5002), receiving=Spi(0x0201_0002))


def opened_federated(datagram: bytes, wall: float) -> Opened[Federated]:
    """What a cathedral said to another."""
    suite = SeededSuite(b"")
    header = FEDERATION.decode_untrusted(datagram)
    base = federation_offer_base(suite, SYNC, header.flocks.own)
    public = cosk_of(CathedralId(header.spi))[32:]
    return open_federated_untrusted(suite, base, public, header, datagram, wall)


class Diocese:
    """Two federated cathedrals."""

    def __init__(self, **options: bool) -> None:
        settings = flock(federation=(HERE, THERE))
        self.here = Parish(settings=settings, address=HERE, **options)
        self.there = Parish(settings=settings, address=THERE, **options)
        self.sent: list[tuple[bytes, Address]] = []

    def after(self, seconds: float) -> None:
        self.here.after(seconds)
        self.there.after(seconds)

    def give(self, parish: Parish, datagram: bytes, source: Address) -> list[tuple[bytes, Address]]:
        """One datagram for one of them, and what clients get, however many hops it takes."""
        homes = {HERE: self.here, THERE: self.there}
        waiting = [(datagram, source, parish)]
        out: list[tuple[bytes, Address]] = []
        for _hop in itertools.count():
            assert _hop < 20, "it never ends"
            if not waiting:
                return out
            data, origin, at = waiting.pop(0)
            for sent, to in at.give(data, origin):
                if to in homes:
                    self.sent.append((sent, to))
                    waiting.append((sent, at.address, homes[to]))
                else:
                    out.append((sent, to))
        raise AssertionError

    def registers(self, parish: Parish, device: Device) -> list[Answer]:
        sent = self.give(parish, device.info(parish.wall), device.address)
        return [device.hears(each).body for each, to in sent if to == device.address]
