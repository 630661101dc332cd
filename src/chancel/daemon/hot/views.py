"""Memoryviews into a slot, cut once and kept.

Slices cost more than what is done with them; the packets of bulk traffic lie in the same places
batch after batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Bytes: TypeAlias = "npt.NDArray[np.uint8]"

_WORTH_KEEPING = 8
_MAX_KEPT = 512
"""Views kept per slot, of 190 bytes each. Sizes may vary without end, and whoever makes trains of
tiny packets makes thousands of them at once: then the cache starts again."""


class SlotView:
    """One slot as memory, as a numpy array, and as views of packets."""

    __slots__ = ("_held", "_kept", "array", "memory")

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self.array: Bytes
        self._kept: dict[tuple[int, int, int], list[memoryview]] = {}
        self._held = 0

    def __getattr__(self, name: str) -> Bytes:
        """The array, when it is wanted first: beside compiled twins nobody does."""
        if name != "array":
            raise AttributeError(name)
        self.array = np.frombuffer(self.memory, dtype=np.uint8)
        return self.array

    def packets(
        self, offset: int, stride: int, count: int, start: int, stop: int
    ) -> list[memoryview]:
        """Bytes ``start`` to ``stop`` of each of ``count`` packets, ``stride`` bytes apart.

        Kept are those of packets that lie at the slot's beginning, as bulk does. What lies behind
        others is somewhere else each time, and would drive them out.
        """
        if offset or count < _WORTH_KEEPING:
            memory = self.memory
            return [
                memory[at + start : at + stop]
                for at in range(offset, offset + count * stride, stride)
            ]
        key = (stride, start, stop)
        views = self._kept.get(key)
        if views is None or len(views) < count:
            more = count - (len(views) if views else 0)
            if self._held + more > _MAX_KEPT:
                self._kept.clear()
                self._held, more, views = 0, count, None
            self._held += more
            if views is None:
                views = self._kept[key] = []
            memory = self.memory
            views.extend(
                memory[at + start : at + stop]
                for at in range(len(views) * stride, count * stride, stride)
            )
        return views[:count] if len(views) > count else views

    def rows(self, offset: int, size: int, count: int) -> Bytes:
        """``count`` packets of ``size`` bytes as a (count, size) array on the slot itself."""
        return self.array[offset : offset + count * size].reshape(count, size)

    def column(self, dtype: str, offset: int, stride: int, count: int) -> npt.NDArray[Any]:
        """One field of each of ``count`` packets, ``stride`` bytes apart, as an array on the slot.

        Made directly: numpy's own helpers for that are Python, and cost more than what they do.
        """
        return np.ndarray((count,), dtype, self.memory, offset, (stride,))
