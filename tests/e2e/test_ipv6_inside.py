"""IPv6 inside a tunnel: all that it carries arrives whole, both ways, and what it can't is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chancel.lab.lab import Lab
from chancel.wire.drop import Drop
from tests.e2e.ends import End, Pair

MTU = 1422
IP_AND_ICMP_BYTES = 48
FULL = MTU - IP_AND_ICMP_BYTES
TCP_BYTES = 4_000_000
SIZES = [10, 11, 700, FULL, FULL, 64, FULL, 1000, 12, 12, 12, FULL - 1]
LEFT, RIGHT = "fd77::1", "fd77::2"
SITE = "2001:db8:9::/64"
ROUTER, FAR = "2001:db8:9::1", "2001:db8:9::2"
NARROW_MTU = 1300
MOST_REPORTS = 4
SITE_ADDRESS, STRANGER = "2001:db8:5::1", "2001:db8:6::1"


@pytest.fixture(scope="module")
def site(lab: Lab, pair: Pair) -> Pair:
    """Behind right is a network whose wire is narrower than the tunnel; left has two more."""
    far = lab.host("far")
    lab.veth(pair.hosts[1], f"{ROUTER}/64", far, f"{FAR}/64")
    for address in (SITE_ADDRESS, STRANGER):
        pair.left.host.call("tests.e2e.inside:add_address", "lo", f"{address}/128")
    pair.right.host.call("tests.e2e.inside_ipv6:forward_ipv6")
    pair.right.host.call("tests.e2e.inside:set_mtu", "eth1", NARROW_MTU)
    far.call("tests.e2e.inside_ipv6:add_default_route6", "eth0", ROUTER)
    return pair


@pytest.fixture(scope="module", params=["on", "off"])
def running(request: pytest.FixtureRequest, site: Pair) -> Iterator[Pair]:
    name = site.configure(0, str(MTU), f"offload {request.param}", "accept 2001:db8:5::/64")
    for end, own, more in (
        (site.left, LEFT, [f"route {SITE}", f"accept {SITE}"]),
        (site.right, RIGHT, ["route 2001:db8:5::/64", f"accept {SITE}", "route 2001:db8:6::/64"]),
    ):
        path = end.home / f"{name}.conf"
        path.write_text("\n".join([path.read_text(), f"tunnel6 {own}/64", *more]) + "\n")
    site.start()
    yield site
    assert site.stop() == [0, 0]


def ways(pair: Pair) -> list[tuple[End, End, str]]:
    """Both directions: sender, receiver, the receiver's address in the tunnel."""
    return [(pair.left, pair.right, RIGHT), (pair.right, pair.left, LEFT)]


def test_pings_of_all_sizes_come_back(running: Pair) -> None:
    for end, _, address in ways(running):
        for size in (0, 56, FULL):
            assert end.ping(address, 10, 0.01, size) == 10
        assert end.ping(address, 1, 0.01, FULL + 1, timeout_s=0.3) == 0


def test_packets_larger_than_the_tunnel_travel_in_fragments(running: Pair) -> None:
    for end, _, address in ways(running):
        assert end.ping(address, 5, 0.01, 4000, df=False) == 5


def test_tcp_streams_arrive_whole(running: Pair) -> None:
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("chancel.lab.bulk:receive", address, 5201, True)
        next(receiving.progress)
        sent = sender.host.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
        received = receiving.result()
        assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_udp_packets_of_mixed_sizes_arrive_whole_and_in_order(running: Pair) -> None:
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("tests.e2e.inside:tally", 1, 8.0, True)
        next(receiving.progress)
        count = sender.host.call("tests.e2e.inside:stream", [address], 1.0, 500.0, SIZES)
        (seen,) = receiving.result().values()
        assert seen == {"packets": count, "highest": count - 1, "reordered": 0, "damaged": 0}


def test_trains_of_udp_arrive_whole(running: Pair) -> None:
    """With offloads the kernel hands over a train, and gets one."""
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("tests.e2e.inside_ipv6:collect", address, 40)
        next(receiving.progress)
        sent = sender.host.call("tests.e2e.inside_ipv6:send_train", address, 40, 1200)
        assert receiving.result() == sent


def test_ipv4_is_carried_beside_it(running: Pair) -> None:
    assert running.left.ping("10.77.0.2") == running.right.ping("10.77.0.1") == 5


def test_accepted_networks_are_reached_and_others_refused(running: Pair) -> None:
    left, right = running.ends
    assert right.ping(SITE_ADDRESS) == 5
    before = left.drops("t0").get(Drop.INNER_ADDRESS, 0)
    assert right.ping(STRANGER, 3, timeout_s=0.5) == 0
    assert left.drops("t0")[Drop.INNER_ADDRESS] == before + 3


def test_a_narrower_network_behind_the_peer_says_so(running: Pair) -> None:
    """Its router's "packet too big" comes back through the tunnel, and the sender heeds it."""
    left = running.left
    assert left.ping(FAR, 3, 0.02, NARROW_MTU - IP_AND_ICMP_BYTES, timeout_s=5.0) == 3
    assert left.ping(FAR, 1, 0.02, NARROW_MTU - IP_AND_ICMP_BYTES + 1, timeout_s=0.5) == 0
    assert left.host.call("tests.e2e.inside_ipv6:path_mtu", FAR) == NARROW_MTU


def test_the_kernel_says_nothing_of_its_own_into_the_tunnel(running: Pair) -> None:
    """Nobody looks for routers or neighbours. Right is a router, and reports to be one."""
    left, right = running.ends
    assert set(right.drops("t0")) <= {Drop.NO_KEY, Drop.OFFER_UNEXPECTED}
    known = {Drop.NO_KEY, Drop.OFFER_UNEXPECTED, Drop.INNER_ADDRESS, Drop.INNER_PROTOCOL}
    assert set(left.drops("t0")) <= known
    assert left.drops("t0").get(Drop.INNER_PROTOCOL, 0) <= MOST_REPORTS


def test_status_shows_both_addresses(running: Pair) -> None:
    for end, own in ((running.left, LEFT), (running.right, RIGHT)):
        assert end.tunnel("t0")["tunnel6"] == f"{own}/64"
        assert end.tunnel("t0")["tunnel"].startswith("10.77.0.")
