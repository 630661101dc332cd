"""Release 0.9.20's encapsulation, beyond its recorded packets (protocol section 15)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.deterministic import SeededSuite
from chancel.errors import RemoteProtocolError
from chancel.protocol.encapsulation import (
    COUNT_LIMIT,
    HEADER_BYTES,
    MASKED_BYTES,
    MIN_BYTES,
    Encapsulation,
)
from chancel.wire.drop import Drop

KEY = bytes(range(32))


def make(count: int = 1) -> Encapsulation:
    return Encapsulation(KEY, SeededSuite(b"seed"), count)


@given(st.binary(min_size=34, max_size=1500), st.integers(0, 2000))
def test_what_was_wrapped_comes_out(datagram: bytes, limit: int) -> None:
    wrapped = make().wrap(memoryview(datagram), limit)
    assert len(wrapped) == HEADER_BYTES + len(datagram)
    assert wrapped[HEADER_BYTES + MASKED_BYTES :] == datagram[MASKED_BYTES:]
    assert make().unwrap(memoryview(wrapped)) == datagram


@given(st.binary(min_size=MIN_BYTES, max_size=120))
def test_anything_long_enough_is_unwrapped(datagram: bytes) -> None:
    assert len(make().unwrap(datagram)) == len(datagram) - HEADER_BYTES


@given(st.binary(max_size=MIN_BYTES - 1))
def test_anything_shorter_is_refused(datagram: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        make().unwrap(datagram)
    assert caught.value.reason is Drop.TOO_SHORT


def test_the_head_is_masked_anew_each_time() -> None:
    mask = make()
    heads = {mask.wrap(bytes(34), 0)[HEADER_BYTES : HEADER_BYTES + MASKED_BYTES] for _ in range(9)}
    assert len(heads) == 9
    assert bytes(MASKED_BYTES) not in heads


def test_another_key_gives_another_head() -> None:
    wrapped = make().wrap(bytes(34), 0)
    assert Encapsulation(bytes(32), SeededSuite(b"")).unwrap(wrapped)[:MASKED_BYTES] != bytes(20)


@pytest.mark.parametrize(
    ("first", "counts"), [(1, [1, 2, 3]), (COUNT_LIMIT - 2, [COUNT_LIMIT - 2, COUNT_LIMIT - 1, 1])]
)
def test_datagrams_are_counted_and_the_spi_changes_with_a_new_count(
    first: int, counts: list[int]
) -> None:
    mask = make(first)
    headers = [mask.wrap(bytes(34), 0)[:HEADER_BYTES] for _ in counts]
    assert [int.from_bytes(header[8:16], "big") for header in headers] == counts
    assert all(header[4:8] == header[12:16] for header in headers)
    assert headers[0][:4] == headers[1][:4]
    assert (headers[1][:4] == headers[2][:4]) is (counts[2] > counts[1])
