"""Views of a slot are cut once and kept, and however packets lie there, they stay few."""

from __future__ import annotations

import random

from chancel.daemon.hot import views
from tests.daemon.naive import new_slot

SIZE, COUNT = 100, 46


def test_the_same_packets_have_the_same_views() -> None:
    slot = new_slot()
    first = slot.packets(0, SIZE, COUNT, 10, 90)
    again = slot.packets(0, SIZE, COUNT, 10, 90)
    assert all(one is other for one, other in zip(first, again, strict=True))
    slot.memory[10:20] = b"0123456789"
    assert bytes(first[0][:10]) == b"0123456789"


def test_more_and_fewer_of_them_are_right_too() -> None:
    slot = new_slot()
    slot.memory[:] = random.Random(0).randbytes(len(slot.memory))
    for count in (COUNT, 2 * COUNT, 9):
        found = slot.packets(7, SIZE, count, 1, 30)
        expected = [slot.memory[at + 1 : at + 30] for at in range(7, 7 + count * SIZE, SIZE)]
        assert found == expected


def test_a_flood_of_tiny_packets_is_not_kept() -> None:
    """A local user's trains of one byte make thousands of packets, of ever new sizes."""
    slot = new_slot()
    for size in range(43, 100):
        assert len(slot.packets(0, size, 4096, 0, 43)) == 4096
        assert len(slot.packets(0, size, 500, 0, 43)) == 500
        kept = sum(map(len, slot._kept.values()))
        assert kept <= max(views._MAX_KEPT, 4096)


def test_what_lies_behind_others_drives_nothing_out() -> None:
    slot = new_slot()
    first = slot.packets(0, SIZE, COUNT, 10, 90)
    for offset in range(16, 16 * 200, 16):
        assert len(slot.packets(offset, SIZE, COUNT, 10, 90)) == COUNT
    again = slot.packets(0, SIZE, COUNT, 10, 90)
    assert all(one is other for one, other in zip(first, again, strict=True))
