"""A fuzzer's bytes, read as decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Script:
    """Numbers, choices and strings out of some bytes, in order. Behind their end all is zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def more(self) -> bool:
        """Whether something is left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken.ljust(size, b"\0")

    def number(self, size: int = 1) -> int:
        """The next ``size`` bytes as a big-endian number."""
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """One decision, of one byte."""
        return bool(self.number() & 1)

    def pick(self, options: Sequence[T]) -> T:
        """One of some options, by one byte."""
        return options[self.number() % len(options)]

    def chunk(self, most: int) -> bytes:
        """A string of up to ``most`` bytes (65535 at most) behind its own length (be16).

        It ends where the data end, so that cutting off the data shortens it.
        """
        size = self.number(2) % (most + 1)
        return self.take(min(size, max(0, len(self._data) - self._at)))
