"""Bells: rings that come together are one wake-up, and nothing ever blocks."""

from __future__ import annotations

import os
import select

from chancel.daemon.bell import Bell


def rung(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_rings_that_come_together_are_one() -> None:
    bell = Bell()
    assert not rung(bell)
    bell.ring()
    bell.ring()
    assert rung(bell)
    bell.quiet()
    assert not rung(bell)
    bell.quiet()
    bell.close()


def test_a_full_counter_is_rung_enough() -> None:
    bell = Bell()
    os.eventfd_write(bell.fileno(), 2**64 - 2)
    bell.ring()
    assert rung(bell)
    bell.quiet()
    assert not rung(bell)
    bell.close()


def test_another_process_can_ring() -> None:
    bell = Bell()
    child = os.fork()
    if child == 0:
        bell.ring()
        os._exit(0)
    assert select.select([bell], [], [], 5)[0]
    os.waitpid(child, 0)
    bell.close()
