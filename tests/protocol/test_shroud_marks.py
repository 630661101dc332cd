"""Marks of shrouds: when they change, and whose they are. The vectors are with the offers'."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.kdf import shroud_base_identity, shroud_identity
from chancel.crypto.system import SystemSuite
from chancel.protocol.shroud import HEADER_BYTES, SHROUD_BYTES, Shroud
from chancel.protocol.shroud_marks import MARK_BYTES, ROTATE_S, Marks, is_mark_of_untrusted
from chancel.wire.types import FlockId, Flocks

SUITE = SystemSuite()
FLOCKS = Flocks(FlockId(0xAAAAAA01), FlockId(0xBBBBBB02))
OURS = shroud_base_identity(SUITE, FLOCKS, 7)
DATAGRAM = bytes(range(200))


def test_a_mark_stays_for_five_minutes_from_when_it_was_first_used() -> None:
    marks = Marks(SeededSuite(b"marks"), OURS)
    first = marks.current(1000.0)
    assert marks.current(1000.0 + ROTATE_S - 0.001) == first
    second = marks.current(1000.0 + ROTATE_S + 50)
    assert second != first
    assert marks.current(1000.0 + 2 * ROTATE_S + 49) == second
    assert marks.current(1000.0 + 2 * ROTATE_S + 50) not in (first, second)


@given(st.binary(min_size=8, max_size=8), st.integers(0, 1500))
def test_a_marked_shroud_comes_off_and_tells_whose_it_is(seed: bytes, limit: int) -> None:
    suite = SeededSuite(seed)
    shroud, mark = Shroud(bytes(32), suite), Marks(suite, OURS).current(0.0)
    assert len(mark) == MARK_BYTES
    wire = shroud.wrap(DATAGRAM, limit, mark)
    least = SHROUD_BYTES + len(DATAGRAM)
    assert least <= len(wire) < max(limit, least + 1)
    assert wire[:MARK_BYTES] == mark
    assert shroud.unwrap(wire) == DATAGRAM
    again = shroud.wrap(DATAGRAM, limit, mark)
    assert again[MARK_BYTES:HEADER_BYTES] != wire[MARK_BYTES:HEADER_BYTES]
    assert is_mark_of_untrusted(suite, OURS, wire)
    assert is_mark_of_untrusted(suite, OURS, memoryview(again))


@pytest.mark.parametrize(
    ("flocks", "identity", "same"),
    [
        (Flocks(FlockId(0xAAAAAA09), FlockId(0xBBBBBB09)), 7, True),
        (Flocks(FLOCKS.peer, FLOCKS.own), 7, True),
        (FLOCKS, 8, False),
        (Flocks(FLOCKS.own, FLOCKS.own), 7, False),
    ],
)
def test_domains_and_order_are_not_in_a_mark(flocks: Flocks, identity: int, *, same: bool) -> None:
    mark = Marks(SUITE, OURS).current(0.0)
    theirs = shroud_base_identity(SUITE, flocks, identity)
    assert is_mark_of_untrusted(SUITE, theirs, mark) is same


@given(st.binary(max_size=100))
def test_a_stranger_s_datagram_has_no_mark(datagram: bytes) -> None:
    assert not is_mark_of_untrusted(SUITE, OURS, datagram)


def test_half_a_seed_makes_no_mark() -> None:
    seed = bytes(8)
    assert not is_mark_of_untrusted(SUITE, OURS, shroud_identity(SUITE, OURS, seed) + seed)


@given(st.integers(0, 8 * MARK_BYTES - 1))
def test_a_changed_bit_makes_it_nobody_s(bit: int) -> None:
    mark = bytearray(Marks(SeededSuite(b"bit"), OURS).current(0.0))
    mark[bit // 8] ^= 1 << bit % 8
    assert not is_mark_of_untrusted(SUITE, OURS, bytes(mark))
