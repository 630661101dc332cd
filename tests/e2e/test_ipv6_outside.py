"""A tunnel over IPv6: what it carries, and how large that may be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chancel.lab.lab import Lab
from chancel.wire.drop import Drop
from tests.e2e.ends import End, Pair

LEFT6, RIGHT6 = "2001:db8:201::1", "2001:db8:201::2"
MTU = 1402
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 4_000_000


@pytest.fixture(scope="module")
def wired(lab: Lab, pair: Pair) -> Pair:
    """Joined by IPv6 as well, on ``eth1``."""
    lab.connect(pair.hosts[0], f"{LEFT6}/64", pair.hosts[1], f"{RIGHT6}/64")
    return pair


def configure(pair: Pair, *lines: str) -> None:
    ends = (pair.left, 1, LEFT6, RIGHT6), (pair.right, 2, RIGHT6, LEFT6)
    for end, own, outer, peer in ends:
        end.configure(
            "t0",
            f"tunnel 10.77.0.{own}/30 auto",
            f"local [{outer}]:2300",
            f"peer [{peer}]:2300",
            *lines,
        )


@pytest.fixture(scope="module", params=["on", "off"])
def running(request: pytest.FixtureRequest, wired: Pair) -> Iterator[Pair]:
    configure(wired, f"offload {request.param}")
    wired.start()
    yield wired
    for end in wired.ends:
        tunnel = end.tunnel("t0")
        assert set(tunnel["drops"]) <= {Drop.NO_KEY, Drop.OFFER_UNEXPECTED}
        assert tunnel["offloads"]["gso"] == request.param
    assert wired.stop() == [0, 0]


def ways(pair: Pair) -> list[tuple[End, End, str]]:
    return [(pair.left, pair.right, "10.77.0.2"), (pair.right, pair.left, "10.77.0.1")]


def test_the_tunnel_is_as_large_as_ipv6_leaves_room_for(running: Pair) -> None:
    full = MTU - IP_AND_ICMP_BYTES
    for end, _, address in ways(running):
        assert end.tunnel("t0")["mtu"] == MTU
        assert end.ping(address, 10, 0.01, full) == 10
        assert end.ping(address, 1, 0.01, full + 1, timeout_s=0.3) == 0


def test_tcp_streams_arrive_whole(running: Pair) -> None:
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("chancel.lab.bulk:receive", address, 5201, True)
        next(receiving.progress)
        sent = sender.host.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
        received = receiving.result()
        assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_status_names_the_peer(running: Pair) -> None:
    assert running.left.tunnel("t0")["peer"] == f"[{RIGHT6}]:2300"
    assert running.left.tunnel("t0")["local"] == f"[{LEFT6}]:2300"
