"""``peer auto``: an address that nobody configured is learnt, and followed wherever it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chancel.lab.lab import Lab, Network
from tests.e2e.ends import End, Pair, eventually

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
LEFT6, RIGHT6 = "2001:db8:201::1", "2001:db8:201::2"
LIMIT_S = 5.0


class Wired(NamedTuple):
    """Two ends, and the networks of IPv4 and IPv6 that join them."""

    pair: Pair
    network: Network
    network6: Network


@pytest.fixture
def wired(lab: Lab, pair: Pair) -> Iterator[Wired]:
    """Left has interfaces of its own for each test; right takes both kinds of address."""
    network, network6 = lab.network("192.168.202.0/24"), lab.network("2001:db8:201::/64")
    network.join(pair.hosts[1], "192.168.202.2")
    network6.join(pair.hosts[1], RIGHT6)
    pair.right.configure("t0", f"tunnel {RIGHT}/30 1300", "local [::]:2300", "peer auto")
    yield Wired(pair, network, network6)
    assert pair.stop() == [0, 0]
    for end in pair.ends:
        for name in end.devices() - {"lo"}:
            end.host.call("tests.e2e.inside:set_up", name, False)


def speak(left: End, local: str, peer: str) -> None:
    """Start left, which knows right."""
    left.configure("t0", f"tunnel {LEFT}/30 1300", f"local {local}", f"peer {peer}")
    left.start()


def peer_host(end: End) -> str:
    """Where an end sends now, without the port; empty while it doesn't know."""
    tunnel = end.tunnels().get("t0", {})
    return str(tunnel.get("peer") or "").rpartition(":")[0]


def learns(wired: Wired, host: str) -> None:
    """Right knows that left is at this address, and both reach each other."""
    left, right = wired.pair.ends
    eventually(lambda: left.is_up() and right.is_up(), 15.0, "both are up")
    eventually(
        lambda: left.ping(RIGHT, 1) == 1 and peer_host(right) == host, LIMIT_S, f"{host} is learnt"
    )
    assert right.tunnel("t0")["path"] == "learned"
    assert right.ping(LEFT) == 5


@pytest.mark.parametrize("version", [4, 6])
def test_a_peer_that_moves_is_followed(wired: Wired, version: int) -> None:
    """Its interface goes down and another one takes over, with another address."""
    left, right = wired.pair.ends
    if version == 4:
        network, peer, local = wired.network, "192.168.202.2:2300", "0.0.0.0:0"
        first, second = "192.168.202.11", "192.168.202.12"
        shown = first, second
    else:
        network, peer, local = wired.network6, f"[{RIGHT6}]:2300", "[::]:0"
        first, second = "2001:db8:201::11", "2001:db8:201::12"
        shown = f"[{first}]", f"[{second}]"
    name = network.join(wired.pair.hosts[0], first)
    right.start()
    speak(left, local, peer)
    learns(wired, shown[0])
    network.join(wired.pair.hosts[0], second)
    left.host.call("tests.e2e.inside:set_up", name, False)
    learns(wired, shown[1])
    assert right.logged(f"new={shown[1]}:")


def test_a_peer_that_comes_back_from_elsewhere_is_learnt(wired: Wired) -> None:
    """By IPv4, then from another port of it, then by IPv6: right stays as it is all the time."""
    left, right = wired.pair.ends
    wired.network.join(wired.pair.hosts[0], "192.168.202.21")
    wired.network6.join(wired.pair.hosts[0], "2001:db8:201::21")
    right.start()
    eventually(lambda: "t0" in right.tunnels(), LIMIT_S, "right is there")
    assert right.tunnel("t0")["path"] == "unknown"
    for local, peer, host in (
        ("0.0.0.0:2301", "192.168.202.2:2300", "192.168.202.21"),
        ("0.0.0.0:2302", "192.168.202.2:2300", "192.168.202.21"),
        ("[::]:2303", f"[{RIGHT6}]:2300", "[2001:db8:201::21]"),
        ("[::]:2304", "192.168.202.2:2300", "192.168.202.21"),
    ):
        speak(left, local, peer)
        learns(wired, host)
        assert right.tunnel("t0")["peer"].endswith(local[-5:])
        assert left.stop() == 0
    speak(left, "0.0.0.0:2301", "192.168.202.2:2300")
    learns(wired, "192.168.202.21")


def test_an_end_that_was_restarted_calls_where_its_peer_was(wired: Wired) -> None:
    """It needn't wait until the peer notices the silence, half a minute later."""
    left, right = wired.pair.ends
    wired.network.join(wired.pair.hosts[0], "192.168.202.31")
    right.start()
    speak(left, "0.0.0.0:2305", "192.168.202.2:2300")
    learns(wired, "192.168.202.31")
    kept = right.runtime / "t0.peers"
    eventually(
        lambda: kept.read_text().startswith("192.168.202.31:2305\n"), LIMIT_S, "it is remembered"
    )
    begun = len(right.logged("reason=no keys"))
    assert right.stop() == 0
    right.start()
    learns(wired, "192.168.202.31")
    assert len(right.logged("reason=no keys")) > begun, "it called by itself"
