"""Tunnels that speak the wire of release 0.9.20 at both ends, bare, and with all that hides it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from tests.e2e.ends import Pair, eventually

MTU = 1400
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 2_000_000
LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
HEARD = 60

CASES = {"plain": (), "tfc-encapsulation": ("tfc on", "encapsulation {key}")}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def running(case: str, pair: Pair) -> Iterator[Pair]:
    key = pair.left.home / "encapsulation"
    pair.left.write_secret(key, os.urandom(32))
    lines = [line.format(key=key) for line in CASES[case]]
    pair.configure(0, str(MTU), "profile 0.9", *lines)
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


def test_pings_of_all_sizes_come_back(running: Pair) -> None:
    for end, address in ((running.left, RIGHT), (running.right, LEFT)):
        for size in (0, 56, MTU - IP_AND_ICMP_BYTES):
            assert end.ping(address, 10, 0.01, size) == 10


def test_tcp_streams_arrive_whole(running: Pair) -> None:
    ways = ((running.left, running.right, RIGHT), (running.right, running.left, LEFT))
    for sender, receiver, address in ways:
        receiving = receiver.host.start("chancel.lab.bulk:receive", address, 5201, True)
        next(receiving.progress)
        sent = sender.host.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
        received = receiving.result()
        assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_what_is_outside_is_that_release_s(running: Pair, case: str) -> None:
    """Seen on the wire while one end starts again, so that offers are among it."""
    left, right = running.ends
    hearing = left.host.start("tests.e2e.inside:overhear", "eth0", 2300, HEARD)
    next(hearing.progress)
    right.stop()
    right.start()
    running.wait_up()
    left.ping(RIGHT, HEARD, 0.01)
    found = hearing.result()
    heard = [bytes.fromhex(each) for each in [*found["in"], *found["out"]]]
    offers = [each for each in heard if each.startswith(MAGIC)]
    # The kernel shows trains as they leave, uncut.
    if case == "plain":
        assert {len(each) % 551 for each in offers} == {0}
    else:
        assert {len(each) % (MTU + 34 + 32) for each in heard} == {0}
    assert bool(offers) is (case == "plain")


def test_an_end_with_the_wire_of_today_is_not_understood(running: Pair) -> None:
    left, right = running.ends
    right.stop()
    file = right.home / "t0.conf"
    text = file.read_text()
    dropped = ("profile", "tfc", "encapsulation")
    lines = [line for line in text.splitlines() if not line.startswith(dropped)]
    file.write_text("\n".join(lines) + "\n")
    right.start()
    reasons = {Drop.OFFER_BAD_TAG, Drop.UNKNOWN_SPI, Drop.SEQUENCE_MISMATCH}
    eventually(lambda: bool(reasons & left.drops("t0").keys()), 10.0, "left refuses it")
    right.stop()
    file.write_text(text)
    left.stop()
    running.start()
