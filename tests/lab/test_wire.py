"""The wire without a kernel: receivers are lists, time is a number."""

from __future__ import annotations

import random
import socket
import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network

import pytest

from chancel.lab import packet
from chancel.lab.interface import IP_OFFSET
from chancel.lab.namespace import LabError
from chancel.lab.wire import MAX_WAITING, Network, Router, Wire
from chancel.sim.models import LinkModel
from chancel.sim.nat import NAT_TYPES, Nat
from chancel.wire.types import Address


@dataclass
class Inbox:
    """A receiver that keeps who sent what to whom, when."""

    address: IPv4Interface
    packets: list[tuple[float, Address, Address]] = field(default_factory=list)

    def accept(self, frame: memoryview, now: float) -> None:
        flow = packet.flow_of(frame)
        assert flow is not None
        self.packets.append((now, flow.source, flow.destination))


def inbox(network: Network, address: str) -> Inbox:
    made = Inbox(IPv4Interface(f"{address}/{network.prefix.prefixlen}"))
    network.join(made)
    return made


def udp(source: str, source_port: int, destination: str, port: int) -> memoryview:
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, packet.UDP, 0)
    ip += socket.inet_aton(source) + socket.inet_aton(destination)
    transport = struct.pack(">HHHH", source_port, port, 8, 0)
    return memoryview(bytearray(bytes(IP_OFFSET) + ip + transport))


@pytest.fixture
def wire() -> Wire:
    return Wire(random.Random(7))


def network(wire: Wire, prefix: str, model: LinkModel | None = None) -> Network:
    return Network(wire, IPv4Network(prefix), model or LinkModel())


def test_a_perfect_network_delivers_at_once(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24")
    a, b = inbox(net, "10.0.0.1"), inbox(net, "10.0.0.2")
    net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), 5.0)
    assert b.packets == [(5.0, Address("10.0.0.1", 1), Address("10.0.0.2", 2))]
    assert a.packets == []
    assert wire.wake_at() is None


@pytest.mark.parametrize("target", ["10.0.0.99", "10.0.0.255", "192.0.2.1"])
def test_what_nobody_takes_is_counted(wire: Wire, target: str) -> None:
    net = network(wire, "10.0.0.0/24")
    inbox(net, "10.0.0.1")
    net.carry(udp("10.0.0.1", 1, target, 2), 0.0)
    assert wire.counts == {"unrouted": 1}


def test_latency_holds_packets_until_woken(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24", LinkModel(latency_s=0.5))
    b = inbox(net, "10.0.0.2")
    for now in (1.0, 1.2):
        net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), now)
    assert wire.wake_at() == 1.5
    wire.wake(1.6)
    assert [now for now, _, _ in b.packets] == [1.6]
    wire.wake(1.7)
    assert len(b.packets) == 2
    assert wire.wake_at() is None


def test_loss_and_duplicates_are_about_as_asked(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24", LinkModel(loss=0.25, duplicate=0.1))
    b = inbox(net, "10.0.0.2")
    for _ in range(4000):
        net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), 0.0)
    wire.wake(0.0)
    assert len(b.packets) == pytest.approx(4000 * 0.75 * 1.1, rel=0.05)
    assert wire.counts["lost"] == pytest.approx(1000, rel=0.1)


def test_each_direction_has_a_queue_of_its_own(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24", LinkModel(rate_bytes_s=28.0))  # one packet a second
    a, b = inbox(net, "10.0.0.1"), inbox(net, "10.0.0.2")
    for _ in range(3):
        net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), 0.0)
    net.carry(udp("10.0.0.2", 2, "10.0.0.1", 1), 0.0)
    wire.wake(1.0)
    assert (len(a.packets), len(b.packets)) == (1, 1)
    wire.wake(3.0)
    assert len(b.packets) == 3


def test_a_cut_cable_carries_what_was_under_way(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24", LinkModel(latency_s=1.0))
    b = inbox(net, "10.0.0.2")
    net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), 0.0)
    net.set_model(LinkModel(loss=1.0))
    net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), 0.1)
    wire.wake(2.0)
    assert len(b.packets) == 1


def test_what_waits_is_bounded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chancel.lab.wire.MAX_WAITING", 10)
    assert MAX_WAITING > 10
    net = network(wire, "10.0.0.0/24", LinkModel(latency_s=1.0))
    inbox(net, "10.0.0.2")
    for _ in range(15):
        net.carry(udp("10.0.0.1", 1, "10.0.0.2", 2), 0.0)
    assert wire.counts["overflow"] == 5


def test_an_address_joins_once_and_only_its_own_network(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24")
    inbox(net, "10.0.0.2")
    with pytest.raises(LabError, match="already taken"):
        inbox(net, "10.0.0.2")
    with pytest.raises(LabError, match="not in the network"):
        inbox(net, "10.0.1.2")


def house(wire: Wire, net: Network, public: str, kind: str | None) -> Network:
    """A home network 10.0.0.0/24 behind a router at ``public``."""
    home = network(wire, "10.0.0.0/24")
    nat = None if kind is None else Nat(NAT_TYPES[kind], public, random.Random(1))
    gateway = IPv4Interface("10.0.0.1/24")
    Router(wire, (home, gateway), (net, IPv4Interface(f"{public}/24")), nat)
    return home


def test_a_router_without_nat_joins_networks_both_ways(wire: Wire) -> None:
    net = network(wire, "192.0.2.0/24")
    home = house(wire, net, "192.0.2.1", None)
    inner, outer = inbox(home, "10.0.0.2"), inbox(net, "192.0.2.9")
    home.carry(udp("10.0.0.2", 1, "192.0.2.9", 2), 0.0)
    net.carry(udp("192.0.2.9", 2, "10.0.0.2", 1), 0.0)
    assert len(outer.packets) == len(inner.packets) == 1


def test_a_nat_hides_the_inside_and_lets_answers_in(wire: Wire) -> None:
    net = network(wire, "192.0.2.0/24")
    home = house(wire, net, "192.0.2.1", "symmetric")
    inner, outer = inbox(home, "10.0.0.2"), inbox(net, "192.0.2.9")
    home.carry(udp("10.0.0.2", 5000, "192.0.2.9", 2), 0.0)
    ((_, seen, _),) = outer.packets
    assert seen.host == "192.0.2.1"
    net.carry(udp("192.0.2.9", 2, seen.host, seen.port), 0.1)
    assert inner.packets == [(0.1, Address("192.0.2.9", 2), Address("10.0.0.2", 5000))]
    net.carry(udp("192.0.2.9", 3, seen.host, seen.port), 0.2)  # not who was asked
    assert wire.counts["refused"] == 1


def test_two_inner_hosts_meet_at_their_public_address(wire: Wire) -> None:
    net = network(wire, "192.0.2.0/24")
    home = house(wire, net, "192.0.2.1", "full-cone")
    a, b = inbox(home, "10.0.0.2"), inbox(home, "10.0.0.3")
    home.carry(udp("10.0.0.3", 7000, "192.0.2.9", 2), 0.0)  # opens the mapping
    home.carry(udp("10.0.0.2", 5000, "192.0.2.1", 7000), 0.1)
    assert b.packets == [(0.1, Address("192.0.2.1", 5000), Address("10.0.0.3", 7000))]
    assert a.packets == []


def test_routers_that_point_at_each_other_do_not_hang(wire: Wire) -> None:
    net = network(wire, "192.0.2.0/24")
    home = house(wire, net, "192.0.2.1", None)
    home.carry(udp("10.0.0.2", 1, "198.51.100.1", 2), 0.0)  # no network has it
    assert wire.counts["expired"] == 1


def test_nothing_passes_between_groups_until_they_are_one_again(wire: Wire) -> None:
    net = network(wire, "10.0.0.0/24")
    boxes = {address: inbox(net, address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3")}

    def passes(source: str, destination: str) -> bool:
        before = len(boxes[destination].packets)
        net.carry(udp(source, 1, destination, 2), 0.0)
        return len(boxes[destination].packets) > before

    net.split([{socket.inet_aton("10.0.0.1")}, {socket.inet_aton("10.0.0.2")}])
    assert not passes("10.0.0.1", "10.0.0.2")
    assert not passes("10.0.0.2", "10.0.0.1")
    assert passes("10.0.0.1", "10.0.0.3"), "who is in no group reaches all"
    assert passes("10.0.0.3", "10.0.0.2")
    assert wire.counts["lost"] == 2
    net.split([{socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")}])
    assert passes("10.0.0.1", "10.0.0.2")
    net.split([])
    assert passes("10.0.0.2", "10.0.0.1")
