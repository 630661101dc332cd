"""Datagrams between hosts, through realms and routers."""

from __future__ import annotations

import random

import pytest

from chancel.sim.clock import VirtualClock
from chancel.sim.models import LinkModel
from chancel.sim.nat import NAT_TYPES, NatModel
from chancel.sim.network import Host, Network, Realm
from chancel.wire.types import Address

Arrived = list[tuple[bytes, Address, bool]]


class World:
    """A network whose hosts keep what arrives."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = Network(self.clock, random.Random(1))
        self.arrived: dict[Address, Arrived] = {}

    def host(
        self,
        address: Address,
        realm: Realm | None = None,
        model: LinkModel | None = None,
        also: tuple[int, ...] = (),
    ) -> Host:
        inbox = self.arrived.setdefault(address, [])
        return self.network.host(
            address, model or LinkModel(), lambda *arrival: inbox.append(arrival), realm, also
        )

    def send(self, host: Host, destination: Address, data: bytes = b"data") -> None:
        self.network.send(host, data, destination)
        self.clock.run_until(self.clock.now + 1.0)


A, B = Address("192.0.2.1", 1000), Address("192.0.2.2", 2000)


def test_a_datagram_arrives_after_the_latency_of_the_uplink() -> None:
    world = World()
    a, _ = world.host(A, model=LinkModel(latency_s=0.25)), world.host(B)
    world.network.send(a, b"data", B)
    world.clock.run_until(0.24)
    assert world.arrived[B] == []
    world.clock.run_until(0.25)
    assert world.arrived[B] == [(b"data", A, True)]


def test_second_copies_and_damaged_ones_are_not_pristine() -> None:
    world = World()
    a, _ = world.host(A, model=LinkModel(duplicate=1.0)), world.host(B)
    world.send(a, B)
    assert [pristine for *_, pristine in world.arrived[B]] == [True, False]
    a.uplink = LinkModel(corrupt=1.0)
    world.send(a, B)
    data, _, pristine = world.arrived[B][-1]
    assert data != b"data"
    assert not pristine


def test_what_goes_nowhere_is_counted() -> None:
    world = World()
    a, _ = world.host(A), world.host(B)
    world.send(a, Address("192.0.2.3", 1))
    world.send(a, Address(B.host, B.port + 1))
    world.network.refuse = lambda *_: True
    world.send(a, B)
    assert (world.network.sent, world.network.lost) == (3, 3)
    assert world.arrived[B] == []


def test_a_host_may_have_other_ports() -> None:
    world = World()
    a, _ = world.host(A), world.host(B, also=(B.port + 1,))
    world.send(a, Address(B.host, B.port + 1))
    world.send(a, Address(B.host, B.port + 2))
    assert [data for data, *_ in world.arrived[B]] == [b"data"]


def test_an_inner_host_is_seen_as_its_router_and_can_be_answered() -> None:
    world = World()
    b, router = world.host(B), world.network.router("203.0.113.1", NAT_TYPES["symmetric"])
    inner = Address("10.0.0.1", 77)
    a = world.host(inner, router.inside)
    world.send(a, B)
    _, seen_as, _ = world.arrived[B][0]
    assert seen_as.host == "203.0.113.1"
    world.send(b, seen_as, b"answer")
    world.send(b, Address(seen_as.host, seen_as.port ^ 1), b"elsewhere")
    assert world.arrived[inner] == [(b"answer", B, True)]


def test_a_router_behind_a_router_translates_twice() -> None:
    world = World()
    b, outer = world.host(B), world.network.router("203.0.113.1", NatModel())
    middle = world.network.router("100.64.0.9", NatModel(), outer.inside)
    inner = Address("10.0.0.1", 77)
    a = world.host(inner, middle.inside)
    world.send(a, B)
    _, seen_as, _ = world.arrived[B][0]
    assert seen_as.host == "203.0.113.1"
    world.send(b, seen_as, b"answer")
    assert world.arrived[inner] == [(b"answer", B, True)]


def test_neighbours_reach_each_other_directly_and_by_hairpin() -> None:
    world = World()
    router = world.network.router("203.0.113.1", NAT_TYPES["full-cone"])
    one, two = Address("10.0.0.1", 7001), Address("10.0.0.2", 7002)
    a, b = world.host(one, router.inside), world.host(two, router.inside)
    world.send(a, two)
    assert world.arrived[two] == [(b"data", one, True)]
    world.send(a, Address("192.0.2.77", 9))
    world.send(b, Address("203.0.113.1", one.port), b"hairpin")
    assert world.arrived[one] == [(b"hairpin", Address("203.0.113.1", two.port), True)]


def test_an_address_belongs_to_one_member() -> None:
    world = World()
    world.host(A)
    with pytest.raises(ValueError):
        world.network.router(A.host, NatModel())
