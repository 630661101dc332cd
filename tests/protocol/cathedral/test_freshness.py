"""What was said before, and how often something may be said in one second."""

from __future__ import annotations

import pytest

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.freshness import MAX_PER_SECOND, Freshness
from chancel.wire.drop import Drop


def mark(number: int) -> bytes:
    return bytes((number,)) * 64


def refusal(freshness: Freshness, timestamp: int, signature: bytes, elsewhere: bool) -> Drop:
    with pytest.raises(RemoteProtocolError) as caught:
        freshness.take(timestamp, signature, elsewhere)
    return caught.value.reason


def test_time_goes_forward() -> None:
    freshness = Freshness()
    freshness.take(100, mark(1), False)
    freshness.take(101, mark(2), True)
    assert refusal(freshness, 100, mark(3), False) is Drop.OFFER_REPLAYED
    freshness.take(101, mark(3), True)


def test_a_repeat_counts_from_where_it_came_from_alone() -> None:
    freshness = Freshness()
    freshness.take(100, mark(1), False)
    freshness.take(100, mark(2), False)
    freshness.take(100, mark(1), False)
    assert refusal(freshness, 100, mark(1), True) is Drop.OFFER_REPLAYED
    assert refusal(freshness, 100, mark(2), True) is Drop.OFFER_REPLAYED


def test_so_many_in_a_second() -> None:
    freshness = Freshness()
    for number in range(MAX_PER_SECOND):
        freshness.take(100, mark(number), False)
    assert refusal(freshness, 100, mark(99), False) is Drop.OFFER_LIMIT
    assert refusal(freshness, 100, mark(0), True) is Drop.OFFER_REPLAYED
    assert refusal(freshness, 100, mark(0), False) is Drop.OFFER_LIMIT, "repeats count"
    freshness.take(101, mark(99), False)
