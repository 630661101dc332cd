"""What was said before, and how often something may be said in one second."""

from __future__ import annotations

import pytest

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.freshness import MAX_PER_SECOND, Freshness
from chancel.wire.drop import Drop


def mark(number: int) -> bytes:
    return bytes((number,)) * 64


WALL = 100.0


def refusal(
    freshness: Freshness, timestamp: int, signature: bytes, elsewhere: bool, wall: float = WALL
) -> Drop:
    with pytest.raises(RemoteProtocolError) as caught:
        freshness.take(timestamp, signature, elsewhere, wall)
    return caught.value.reason


def test_time_goes_forward() -> None:
    freshness = Freshness()
    freshness.take(100, mark(1), False, WALL)
    freshness.take(101, mark(2), True, WALL)
    assert refusal(freshness, 100, mark(3), False) is Drop.OFFER_REPLAYED
    freshness.take(101, mark(3), True, WALL)


def test_a_repeat_counts_from_where_it_came_from_alone() -> None:
    freshness = Freshness()
    freshness.take(100, mark(1), False, WALL)
    freshness.take(100, mark(2), False, WALL)
    freshness.take(100, mark(1), False, WALL)
    assert refusal(freshness, 100, mark(1), True) is Drop.OFFER_REPLAYED
    assert refusal(freshness, 100, mark(2), True) is Drop.OFFER_REPLAYED


def test_so_many_in_a_second() -> None:
    freshness = Freshness()
    for number in range(MAX_PER_SECOND):
        freshness.take(100, mark(number), False, WALL)
    assert refusal(freshness, 100, mark(99), False) is Drop.OFFER_LIMIT
    assert refusal(freshness, 100, mark(0), True) is Drop.OFFER_REPLAYED
    assert refusal(freshness, 100, mark(0), False) is Drop.OFFER_LIMIT, "repeats count"
    freshness.take(101, mark(99), False, WALL)


@pytest.mark.parametrize("back", [1, 5, 10])
def test_a_client_whose_clock_steps_back_waits_as_long(back: int) -> None:
    freshness = Freshness()
    freshness.take(100 + back, mark(1), False, 100.0)
    for wall in range(100, 100 + back):
        assert refusal(freshness, wall, mark(wall), False, wall) is Drop.OFFER_REPLAYED
    freshness.take(100 + back, mark(2), False, 100.0 + back)
    freshness.take(101 + back, mark(3), False, 101.0 + back)


@pytest.mark.parametrize("back", [11, 3600, 10**8])
def test_a_machine_whose_clock_was_wrong_is_heard_at_once(back: int) -> None:
    """Ours may be on it."""
    freshness = Freshness()
    freshness.take(100 + back, mark(1), False, 100.0 + back)
    freshness.take(100, mark(2), False, 100.0)
    assert refusal(freshness, 99, mark(3), False) is Drop.OFFER_REPLAYED
    assert refusal(freshness, 100, mark(2), True) is Drop.OFFER_REPLAYED
