"""Two bridges joined by a tunnel: hosts behind them are neighbours, whatever they speak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chancel.lab.lab import Host, Lab
from chancel.wire.drop import Drop
from tests.e2e.ends import Pair, eventually

MTU = 1400
ALICE, BOB = "10.50.0.1", "10.50.0.2"
ALICE6, BOB6 = "fd50::1", "fd50::2"
BRIDGE = "br0"
TCP_BYTES = 4_000_000
HARMLESS = {Drop.NO_KEY, Drop.OFFER_UNEXPECTED, Drop.INNER_ETHERTYPE}
VLAN_TAG = 0x2007
LLDP = 0x88CC


class Joined(NamedTuple):
    """Both ends of the tunnel, and a host behind each."""

    pair: Pair
    alice: Host
    bob: Host


@pytest.fixture(scope="module")
def wired(lab: Lab, pair: Pair) -> Joined:
    """Behind each end a host, on a wire to the end's ``eth1``."""
    alice, bob = lab.host("alice"), lab.host("bob")
    for end, host, address, address6 in (
        (pair.hosts[0], alice, ALICE, ALICE6),
        (pair.hosts[1], bob, BOB, BOB6),
    ):
        lab.veth(end, "169.254.0.1/24", host, f"{address}/24")
        host.call("tests.e2e.inside:add_address", "eth0", f"{address6}/64")
        host.call("tests.e2e.inside:set_mtu", "eth0", MTU)
    return Joined(pair, alice, bob)


@pytest.fixture(scope="module", params=["on", "off"])
def joined(request: pytest.FixtureRequest, wired: Joined) -> Iterator[Joined]:
    for end in wired.pair.ends:
        other = wired.pair.right if end is wired.pair.left else wired.pair.left
        end.configure(
            "t0",
            f"tunnel 0.0.0.0/0 {MTU}",
            "tap yes",
            f"bridge {BRIDGE}",
            f"local {end.outer}:2300",
            f"peer {other.outer}:2300",
            f"offload {request.param}",
        )
    wired.pair.start()
    for end in wired.pair.ends:
        end.host.call("tests.e2e.inside_frames:plug", "eth1", BRIDGE)
    eventually(
        lambda: all(reach(wired.alice, address, 1) for address in (BOB, BOB6)),
        15.0,
        "the bridges forward",
    )
    yield wired
    for end in wired.pair.ends:
        assert set(end.tunnel("t0")["drops"]) <= HARMLESS
    assert wired.pair.stop() == [0, 0]
    for end in wired.pair.ends:
        assert BRIDGE in end.devices()
        assert "t0" not in end.devices()


def reach(host: Host, address: str, count: int, size: int = 56) -> int:
    """How many echoes come back, none fragmented."""
    answer = host.call("chancel.lab.ping:ping", address, count, 0.01, size, True, 1.0)
    assert not answer["duplicates"]
    return int(answer["received"])


@pytest.mark.parametrize(("address", "head"), [(BOB, 28), (BOB6, 48)])
def test_frames_of_all_sizes_pass(joined: Joined, address: str, head: int) -> None:
    """Neighbours found by ARP, or by multicast; packets as large as the device's MTU."""
    for size in (0, 56, MTU - head):
        assert reach(joined.alice, address, 10, size) == 10
    assert reach(joined.alice, address, 1, MTU - head + 1) == 0


@pytest.mark.parametrize("address", [BOB, BOB6])
def test_tcp_streams_arrive_whole(joined: Joined, address: str) -> None:
    receiving = joined.bob.start("chancel.lab.bulk:receive", address, 5201, True)
    next(receiving.progress)
    sent = joined.alice.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
    received = receiving.result()
    assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_trains_of_udp_arrive_whole(joined: Joined) -> None:
    receiving = joined.bob.start("tests.e2e.inside_ipv6:collect", BOB6, 40)
    next(receiving.progress)
    sent = joined.alice.call("tests.e2e.inside_ipv6:send_train", BOB6, 40, 1200)
    assert receiving.result() == sent


def test_a_vlan_tag_stays_on_its_frame(joined: Joined) -> None:
    """As large as a tagged frame of this MTU gets."""
    for size in (60, MTU):
        hearing = joined.bob.start("tests.e2e.inside_frames:hear_frame", "eth0")
        next(hearing.progress)
        joined.alice.call("tests.e2e.inside_frames:send_frame", "eth0", 0x88B5, size, VLAN_TAG)
        assert hearing.result() == {"ethertype": 0x88B5, "size": size, "tag": VLAN_TAG}


def test_frames_of_other_types_are_refused(joined: Joined) -> None:
    left, right = joined.pair.ends
    before = right.drops("t0").get(Drop.INNER_ETHERTYPE, 0)
    for _ in range(3):
        joined.alice.call("tests.e2e.inside_frames:send_frame", "eth0", LLDP, 60, 0)
    eventually(
        lambda: right.drops("t0").get(Drop.INNER_ETHERTYPE, 0) == before + 3,
        3.0,
        "three frames are refused",
    )
    assert Drop.INNER_ETHERTYPE not in left.drops("t0")


def test_the_device_has_no_address_and_status_says_what_it_is(joined: Joined) -> None:
    for end in joined.pair.ends:
        tunnel = end.tunnel("t0")
        assert (tunnel["tap"], tunnel["bridge"], tunnel["tunnel"]) == (True, BRIDGE, None)
        assert end.host.call("tests.e2e.inside:mtu", "t0") == MTU
        assert end.host.call("tests.e2e.inside_frames:addresses", "t0") == []
        assert end.logged(f"added t0 to {BRIDGE}")
