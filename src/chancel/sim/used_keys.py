"""Keys that must never be used twice: all of a run, however long, at 8 bytes each."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

BATCH: Final = 1024
"""So many of the newest are kept as they come, and then sorted in among all others."""

MARK_BYTES: Final = 8
"""Of a key. Keys are hashes: among the 13 million of a device's year two have equal marks by chance
once in 200,000 years."""

_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")


class UsedKeys:
    """Finds every repetition: of one of the newest keys at once, of an older one by the time that
    :meth:`settle` is called, or :data:`BATCH` others were used."""

    def __init__(self) -> None:
        self._newest: set[bytes] = set()
        self._older: npt.NDArray[np.uint64] = np.empty(0, np.uint64)

    def use(self, key: bytes) -> int:
        """A key is used; how many repetitions are found by that."""
        mark = key[:MARK_BYTES]
        if mark in self._newest:
            return 1
        self._newest.add(mark)
        return self.settle() if len(self._newest) >= BATCH else 0

    def settle(self) -> int:
        """Look for the newest ones among all others; how many repetitions are found by that."""
        newest = np.sort(np.frombuffer(b"".join(self._newest), np.uint64))
        self._newest.clear()
        first, last = (np.searchsorted(self._older, newest, side) for side in _SIDES)
        found = first < last
        # What is found is there already. Sorting merges the two parts, as each is in order.
        joined = np.concatenate((self._older, newest[~found]))
        joined.sort(kind="stable")
        self._older = joined
        return int(np.count_nonzero(found))
