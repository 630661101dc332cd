"""The replay window accepts what a naive set of seen numbers accepts, one by one and in batches.

Protocol section 9. Each number is accepted once, and none ``width`` or more below the highest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chancel.protocol.window import ReplayWindow
from fuzz.script import Script

_WIDTHS = (64, 256, 1024)
_LEAST, _HIGHEST = 1, (1 << 64) - 1


class _Naive:
    """What was seen, all of it."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.highest = 1
        self.seen: set[int] = set()

    def accepts(self, number: int) -> bool:
        if not 0 < number <= _HIGHEST or number in self.seen:
            return False
        return number > self.highest - self.width

    def mark(self, number: int) -> None:
        self.seen.add(number)
        self.highest = max(self.highest, number)


def check(data: bytes) -> None:
    script = Script(data)
    width = script.pick(_WIDTHS)
    window, naive = ReplayWindow(width), _Naive(width)
    while script.more():
        numbers = _numbers(script, naive.highest)
        if window.check_all(np.array(numbers, dtype=np.uint64)):
            assert sorted(set(numbers)) == numbers
            assert all(naive.accepts(number) for number in numbers)
            window.mark_all(np.array(numbers, dtype=np.uint64))
            for number in numbers:
                naive.mark(number)
            continue
        for number in numbers:
            assert window.check(number) == naive.accepts(number)
            if naive.accepts(number):
                window.mark(number)
                naive.mark(number)
    assert window.highest == naive.highest


def _numbers(script: Script, highest: int) -> list[int]:
    """A few numbers, mostly near the highest one so far."""
    start = script.pick((highest, max(0, highest - 1100), script.number(8)))
    return [min(max(start + step, 0), _HIGHEST) for step in script.take(script.number() % 8 + 1)]


def seeds() -> Iterator[bytes]:
    yield bytes((0, 0, 3, 1, 2, 3, 4, 0, 3, 1, 2, 3, 4))
    yield bytes((1, 2)) + b"\xff" * 8 + bytes((2, 0, 1, 1))
    yield bytes((2, 1, 7, 200, 100, 90, 80, 70, 60, 50, 40))
