"""Two contexts and a cathedral of ours in one process, with nothing between them but datagrams."""

from __future__ import annotations

import functools
import socket
import struct

import pytest

from chancel.crypto import ed25519
from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.vault.secret import Secret
from chancel.wire.ambry import OWN, Header, encode_entry_into, expiry, tunnel
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId
from tests.libkyrka.cathedral import LEFT, RIGHT, SELECTOR, Client, Member, context_of
from tests.libkyrka.ends import SUITE, WALL, Clock

CLIENTS = LEFT, RIGHT
FLOCK = FlockId(LEFT.flocks.own & ~0xFF)
CATHEDRAL = Address("192.0.2.1", 31337)
ADDRESSES = Address("198.51.100.1", 4001), Address("203.0.113.2", 4002)
GROUP = 0xDEAD


class Keys:
    """Those of both clients, as a cathedral has them."""

    def __init__(self) -> None:
        self._clients = {client.identity: client for client in CLIENTS}
        self._secrets = {client.identity: Secret(client.secret) for client in CLIENTS}

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        return self._secrets[identity]

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        return self._clients[identity].cosk[ed25519.SEED_BYTES :]


@functools.cache
def bundle(generation: int) -> Bundle:
    """A bundle in which our two devices have a secret, and all others nonsense."""
    header = Header(expiry(WALL, 30), generation, SUITE.random(64))
    secret = bytes((generation,)) * 32
    wrapped: dict[int, bytes] = {each.tunnel: wrap(each, header, secret) for each in CLIENTS}
    data = bytearray(OWN.size)
    data[: len(header.encode())] = header.encode()
    pairs = ((one, other) for one in range(1, 256) for other in OWN.peers(one))
    ends = (end for one, other in pairs for end in (tunnel(one, other), tunnel(other, one)))
    for index, name in enumerate(ends):
        encode_entry_into(data, index, FLOCK, name, wrapped.get(name, bytes(48)))
    return Bundle.decode_untrusted(bytes(data), (FLOCK, FLOCK), WALL, "bundle")


def wrap(client: Client, header: Header, secret: bytes) -> bytes:
    derived = derived_kek(SUITE, client.kek, client.flocks)
    return Wrapping(SUITE, header, client.flocks).wrap(derived, client.tunnel, secret)


def settings(generation: int) -> Settings:
    allows = tuple(Allow(client.identity, client.tunnel >> 8, 0) for client in CLIENTS)
    return Settings({FLOCK: FlockSettings(FLOCK, allows, bundle(generation))})


class World:
    """Two programs like the reference's example, but for NAT detection."""

    def __init__(self, *, shroud: bool) -> None:
        self.clock = Clock()
        options = Options(CATHEDRAL, 1373, shroud=shroud)
        keys, sync = Keys(), Secret(bytes(32))
        self.cathedral = Cathedral(SUITE, options, keys, lambda: sync, settings(1), self.clock.now)
        self.members = {
            address: Member(
                context_of(self.clock), client, self.clock.wall, shroud=shroud, group=GROUP
            )
            for address, client in zip(ADDRESSES, CLIENTS, strict=True)
        }
        self.both = tuple(self.members.values())

    def turn(self, turns: int = 1) -> None:
        """Some seconds."""
        for _ in range(turns):
            for member in self.both:
                member.context.cathedral_notify()
                member.context.cathedral_nat_detection()
            self.carry()
            for member in self.both:
                member.context.key_manage()
            self.carry()
            self.clock.now += 1
            self.cathedral.wake(self.clock.now, self.clock.wall())

    def carry(self) -> None:
        """Everything to the cathedral, and what it sends to its clients."""
        for address, member in self.members.items():
            sent = [*(data for _, data in member.asked), *member.sent]
            member.asked, member.sent = [], []
            for data in sent:
                self.cathedral.receive(data, address, self.clock.now, self.clock.wall())
        for data, to in self.cathedral.datagrams():
            self.members[to].context.purgatory_input(data, SELECTOR)

    def talk(self) -> None:
        """One packet each way."""
        for member in self.both:
            member.context.heaven_input(b"ping", SELECTOR)
        self.carry()


def addresses(member: Member) -> list[Address]:
    """Where the peer was said to be."""
    return [
        Address(socket.inet_ntoa(struct.pack("=I", info["ip"])), socket.ntohs(info["port"]))
        for event, info in member.told()
        if event == 4
    ]


@pytest.fixture(params=[False, True], ids=["bare", "shrouded"])
def world(request: pytest.FixtureRequest) -> World:
    return World(shroud=request.param)


def test_from_nothing_to_a_tunnel(world: World) -> None:
    world.turn(5)
    world.talk()
    assert [member.heard for member in world.both] == [[(b"ping", 1)], [(b"ping", 1)]]


def test_where_the_peer_is(world: World) -> None:
    """First at the cathedral; with NATs that are no hindrance, at its own address."""
    world.turn(5)
    assert {each for member in world.both for each in addresses(member)} == {CATHEDRAL}
    world.turn(30)
    assert [addresses(member)[-1] for member in world.both] == list(ADDRESSES[::-1])


def test_a_new_bundle(world: World) -> None:
    world.turn(5)
    world.talk()
    world.turn()
    old = [member.context._keys.spis for member in world.both]
    world.cathedral.reconfigure(settings(2), world.clock.now)
    world.turn(6)
    world.talk()
    assert [data for data, _ in world.both[0].heard] == [b"ping"] * 2
    assert not {spi for spis in old for spi in spis} & {
        spi for member in world.both for spi in member.context._keys.spis
    }
    for member in world.both:
        assert (5, {"ambry": 2}) in member.told()


def test_who_is_there(world: World) -> None:
    found = []
    for _ in range(2):
        for member in world.both:
            member.context.cathedral_liturgy()
            world.carry()
            found += [info["peers"] for event, info in member.told() if event == 6]
        world.clock.now += 5
    names = [[id_ for id_ in range(255) if peers[id_]] for peers in found]
    assert names == [[], [0xCA], [0xFE], [0xCA]]


def test_the_cathedral_refused_nothing(world: World) -> None:
    world.turn(5)
    assert world.cathedral.drops == {}
    assert world.cathedral.statistics().tunnels_local == 2
