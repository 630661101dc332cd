"""The bucket of a route: the reference's formula, and batches that do what single packets do."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.protocol.cathedral.route import Relayed, Route, limit_bytes
from chancel.wire.drop import Drop
from chancel.wire.types import Address

MIB = 1_048_576


def route(mbit: int) -> tuple[Route, Relayed]:
    relayed = Relayed(Counter())
    return Route(Address("192.0.2.9", 9), relayed, mbit), relayed


@pytest.mark.parametrize(
    ("mbit", "limit"),
    [(0, 0), (1, MIB // 8), (7, 7 * MIB // 8), (8, MIB), (15, MIB), (16, 2 * MIB), (25, 3 * MIB)],
)
def test_the_limit(mbit: int, limit: int) -> None:
    assert limit_bytes(mbit) == limit


def test_without_a_limit_all_passes() -> None:
    way, relayed = route(0)
    assert way.admit(1400, 10**6, 1.0) == 10**6
    assert (relayed.packets_in, relayed.packets_out, relayed.octets) == (
        *(10**6, 10**6),
        1400 * 10**6,
    )
    assert not relayed.drops


def test_a_burst_of_the_size_of_the_bucket_and_then_its_rate() -> None:
    way, relayed = route(8)
    burst = way.admit(1000, 5000, 1.0)
    assert burst == -(-MIB // 1000), "the last one may overflow it"
    assert way.admit(1000, 1, 1.0) == 0
    passed = sum(way.admit(1000, 5, 1.0 + turn / 1000) for turn in range(1, 10_001))
    assert passed * 1000 == pytest.approx(10 * MIB, rel=0.01)
    assert relayed.drops[Drop.BANDWIDTH] == relayed.packets_in - relayed.packets_out
    assert relayed.octets == 1000 * (burst + passed)


def test_seven_limits() -> None:
    way, _ = route(7)
    assert way.admit(1000, 5000, 1.0) == -(-7 * MIB // 8 // 1000)


def test_a_new_limit_counts_at_once() -> None:
    way, _ = route(8)
    assert way.admit(1000, 2000, 1.0) == 1049
    way.set_limit(16)
    assert way.admit(1000, 2000, 1.0) == 1049
    way.set_limit(8)
    assert way.admit(1000, 1, 1.0) == 0
    way.set_limit(0)
    assert way.admit(1000, 2000, 1.0) == 2000


class Naive:
    """The formula of section 4.7, packet by packet."""

    def __init__(self, mbit: int) -> None:
        self.limit = mbit // 8 * MIB
        self.drain = self.limit // 1000
        self.current = 0
        self.last = 0

    def passes(self, octets: int, now: float) -> bool:
        now_ms = int(now * 1000)
        ms = now_ms - self.last
        if ms >= 1:
            self.last = now_ms
            self.current = max(0, self.current - self.drain * ms)
        if self.current >= self.limit:
            return False
        self.current += octets
        return True


TRAINS = st.lists(st.tuples(st.integers(50, 1500), st.integers(1, 400), st.floats(0, 0.5)))


@given(st.integers(1, 4), TRAINS)
def test_a_train_is_judged_packet_by_packet(
    mebibytes: int, trains: list[tuple[int, int, float]]
) -> None:
    way, _ = route(8 * mebibytes)
    naive, now = Naive(8 * mebibytes), 5.0
    for octets, packets, pause in trains:
        now += pause
        assert way.admit(octets, packets, now) == sum(
            naive.passes(octets, now) for _ in range(packets)
        )


def test_back_to_a_cathedral_and_to_nobody_else() -> None:
    way, _ = route(0)
    assert not way.returns_to(way.destination), "two tunnels of one device may share its address"
    way.federated = True
    assert way.returns_to(way.destination)
    assert not way.returns_to(Address("192.0.2.8", 9))
