"""What is inside a tunnel has to be allowed there; the rest is counted and goes nowhere."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest

from chancel.wire.drop import Drop
from tests.e2e.ends import Pair, eventually

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
ACCEPTED, REFUSED = "172.16.0.1", "172.17.0.1"
GRE, UDP = 47, 17
COUNT = 7
LIMIT_S = 3.0


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    """Right routes two networks into the tunnel; left, where both are, accepts one of them."""
    pair.configure(0, "1400")
    for end, lines in (
        (pair.left, ["accept 172.16.0.0/24"]),
        (pair.right, ["accept 172.16.0.0/24", "route 172.16.0.0/24", "route 172.17.0.0/24"]),
    ):
        path = end.home / "t0.conf"
        path.write_text(path.read_text() + "\n".join(lines) + "\n")
    for address in (ACCEPTED, REFUSED):
        pair.left.host.call("tests.e2e.inside:add_address", "lo", f"{address}/32")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


def ip_packet(protocol: int, source: str = RIGHT, size: int = 60, version: int = 4) -> bytes:
    addresses = [ipaddress.IPv4Address(each).packed for each in (source, LEFT)]
    head = struct.pack(
        ">BBHHHBBH4s4s", version << 4 | 5, 0, size, 0, 0, 64, protocol, 0, *addresses
    )
    return head.ljust(size, b"\0")


def refused(pair: Pair, reason: Drop) -> int:
    return pair.left.drops("t0").get(str(reason), 0)


def counted(pair: Pair, reason: Drop, count: int) -> None:
    eventually(lambda: refused(pair, reason) == count, LIMIT_S, f"{reason} is counted")


def test_an_accepted_network_is_reached(running: Pair) -> None:
    assert running.right.ping(ACCEPTED) == 5


def test_addresses_of_no_accepted_network_are_refused(running: Pair) -> None:
    assert running.right.ping(REFUSED, COUNT) == 0
    counted(running, Drop.INNER_ADDRESS, COUNT)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(ip_packet(GRE), Drop.INNER_PROTOCOL, id="protocol"),
        pytest.param(ip_packet(UDP, version=6), Drop.INNER_VERSION, id="version"),
        pytest.param(ip_packet(UDP, size=20)[:19], Drop.INNER_TOO_SHORT, id="length"),
    ],
)
def test_what_is_no_packet_of_a_known_kind_is_refused(
    running: Pair, packet: bytes, reason: Drop
) -> None:
    running.right.host.call("tests.e2e.inside:inject", "t0", [packet.hex()] * COUNT)
    counted(running, reason, COUNT)
    assert running.right.ping(LEFT) == 5


def test_a_device_that_is_down_loses_packets_and_nothing_else(running: Pair) -> None:
    left, right = running.ends
    left.host.call("tests.e2e.inside:set_up", "t0", False)
    assert right.ping(LEFT, COUNT) == 0
    counted(running, Drop.DEVICE_WRITE_FAILED, COUNT)
    left.host.call("tests.e2e.inside:set_up", "t0", True)
    assert right.ping(LEFT) == 5
