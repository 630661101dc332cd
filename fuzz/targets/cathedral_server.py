"""A loaded cathedral takes anything from anybody without raising, and its tables stay true to it.

Cathedral sections 4 to 7. The input is a script: who sends what, genuine, damaged, signed nonsense
or noise, from where, when. What is registered was signed by a client that may; the fast path sends
where the slow one does; and after two minutes of silence nothing is left.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind
from chancel.crypto.kdf_cathedral import client_offer_base, federation_offer_base
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings, pair
from chancel.protocol.sealing import seal_offer
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import DATA_BYTES, MAGIC, AnyBody, OfferHeader, encode_data
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.traffic import CURRENT, TrafficHeader
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi
from fuzz.script import Script

MOST_BYTES = 2048

_WALL = 1_760_000_000.0
_HERE, _THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
_SOURCES = (Address("198.51.100.1", 1), Address("198.51.100.1", 2), _THERE, Address("10.0.0.1", 0))
_FLOCKS = (FlockId(0x100), FlockId(0x200), FlockId(0x101))
_SECRET, _SYNC = Secret(bytes(32)), Secret(bytes(range(32)))
_SEED = bytes(range(32, 64))
_PUBLIC = Ed25519PrivateKey.from_private_bytes(_SEED).public_key().public_bytes_raw()
_IDENTITIES = (1, 2, 9)
_ALLOWS = tuple(Allow(CathedralId(number), number, 8 * number) for number in (1, 2))
_KNOWN = {flock: FlockSettings(flock, _ALLOWS) for flock in _FLOCKS[:2]}
_SETTINGS = (
    Settings(_KNOWN, {pair(*_FLOCKS[:2]): None}, (_THERE,)),
    Settings(_KNOWN, {}, ()),
    Settings({_FLOCKS[0]: FlockSettings(_FLOCKS[0], _ALLOWS[:1])}, {}, (_HERE, _THERE)),
)
_EXPIRED_S = 131.0


class _Keys:
    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:  # noqa: ARG002
        return _SECRET

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:  # noqa: ARG002
        return _PUBLIC


def check(data: bytes) -> None:
    script = Script(data)
    suite = FastSuite(random.Random(0))
    options = Options(_HERE, 1373, p2p_sync=script.flag(), shroud=script.flag(), tfc=script.flag())
    cathedral = Cathedral(suite, options, _Keys(), lambda: _SYNC, _SETTINGS[0], 0.0)
    now, dropped = 0.0, 0
    while script.more():
        now += script.number() / 8
        cathedral.wake(now, _WALL + now)
        assert cathedral.wake_at() > now
        if script.number() == 0:
            cathedral.reconfigure(script.pick(_SETTINGS), now)
        datagram, source = _datagram(script, suite, _WALL + now), script.pick(_SOURCES)
        route = None if options.shroud else cathedral.route(datagram[:32], source)
        cathedral.receive(datagram, source, now, _WALL + now)
        sent = cathedral.datagrams()
        drops = sum(cathedral.drops.values())
        assert drops - dropped in (0, 1)
        if route is not None and len(datagram) >= CURRENT.overhead_bytes:
            assert sent in ([(datagram, route.destination)], [])
        assert all(address.port for _, address in sent)
        dropped = drops
    counts = cathedral.statistics()
    assert counts.tunnels_local + counts.tunnels_federated <= 2 * 256 * 3 * 2
    assert counts.traffic_out <= counts.traffic_in
    cathedral.wake(now + _EXPIRED_S, _WALL)
    counts = cathedral.statistics()
    assert counts.tunnels_local + counts.tunnels_federated == 0
    assert counts.liturgies_local + counts.liturgies_federated == 0


def _datagram(script: Script, suite: FastSuite, wall: float) -> bytes:
    kind = script.number() % 6
    if kind == 0:
        return script.chunk(1600)
    flocks = Flocks(script.pick(_FLOCKS), script.pick(_FLOCKS))
    tunnel = TunnelId(script.number(2))
    if kind == 1:
        head = TrafficHeader(Spi(tunnel << 16 | script.number() % 2), 1, *flocks)
        return CURRENT.encode(head).ljust(60, b"x")
    identity = script.pick(_IDENTITIES)
    header = OfferHeader(Spi(identity), flocks, suite.random(64))
    if kind == 2:
        sender = OfferHeader(Spi(tunnel << 16), flocks, header.seed)
        return (MAGIC + CATHEDRAL.encode(sender)[len(MAGIC) :]).ljust(623, b"x")
    data = _data(script, tunnel, int(wall) + script.number() % 12)
    inside = data + ed25519.sign(_SEED, data)
    if kind == 3:
        with _SYNC.reveal() as secret:
            base = federation_offer_base(suite, secret, flocks.own)
        return seal_offer(suite, OfferKind.FEDERATION, base, header, inside, FEDERATION)
    with _SECRET.reveal() as secret:
        base = client_offer_base(suite, secret, flocks.own)
    layout = NAT if kind == 4 else CATHEDRAL
    return seal_offer(suite, OfferKind.CATHEDRAL, base, header, inside, layout)


def _data(script: Script, tunnel: TunnelId, timestamp: int) -> bytes:
    spi = Spi(tunnel << 16 | 1)
    bodies: tuple[AnyBody, ...] = (
        InfoBody(tunnel, InstanceId(script.number() % 2), 0, spi, wants_remembrance=True),
        LiturgyBody(tunnel >> 8, 0, script.take(8).ljust(255, b"\1"), signaling=script.flag()),
        PeerInfoBody(tunnel, _SOURCES[0], reachable=True),
    )
    choice = script.number() % 4
    if choice < len(bodies):
        return encode_data(timestamp, bodies[choice])
    return (script.take(1) + timestamp.to_bytes(8, "big") + script.take(40)).ljust(
        DATA_BYTES, b"\0"
    )


def seeds() -> Iterator[bytes]:
    info = bytes((8, 1, 5, 0, 0, 1, 2, 0, 3, 0, 0, 0))
    back = bytes((8, 1, 5, 0, 0, 2, 1, 1, 3, 0, 0, 1))
    traffic = bytes((8, 1, 1, 0, 0, 1, 2, 1, 1))
    probe = bytes((200, 1, 4, 0, 0, 1, 2, 0, 3, 0, 0, 0))
    federated = bytes((8, 1, 3, 0, 0, 1, 2, 0, 3, 0, 0, 2))
    liturgy = bytes((8, 1, 5, 0, 0, 1, 2, 0, 3, 1, 0)) + bytes(8) + b"\0\0"
    for options in (b"\0\0\0", b"\1\1\1", b"\1\0\1"):
        yield options + info + back + traffic + probe + info
        yield options + info + federated + traffic + liturgy
    yield b"\0\0\0" + bytes((8, 1, 0, 0, 60)) + bytes(60)
