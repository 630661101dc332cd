"""The replay window: which packet numbers of one key have been seen (protocol section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from chancel.wire.drop import Drop

if TYPE_CHECKING:
    import numpy.typing as npt

Numbers: TypeAlias = "npt.NDArray[np.uint64]"
"""Packet numbers of a batch, in order of arrival."""


class ReplayWindow:
    """Accepts each packet number once, and none that lies ``width`` or more below the highest.

    ``highest`` starts at 1 with nothing seen, so 1 is acceptable and 0 never is. Bit ``width - 1``
    of ``bitmap`` stands for ``highest``, each lower bit for the number one less.

    A caller checks before the packet is authenticated and marks afterwards; nothing unauthenticated
    may be marked.
    """

    __slots__ = ("_top", "bitmap", "highest", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.highest = 1
        self.bitmap = 0
        self._top = 1 << (width - 1)

    def __repr__(self) -> str:
        return f"<ReplayWindow highest={self.highest} bitmap={self.bitmap:#x}>"

    def check(self, number: int) -> bool:
        """Whether the number is acceptable now."""
        return self.refusal(number) is None

    def refusal(self, number: int) -> Drop | None:
        """Why the number isn't acceptable: ``DUPLICATE``, ``TOO_OLD``, or ``None`` if it is."""
        if number > self.highest:
            return None
        distance = self.highest - number
        if number <= 0 or distance >= self.width:
            return Drop.TOO_OLD
        return Drop.DUPLICATE if self.bitmap & (self._top >> distance) else None

    def mark(self, number: int) -> None:
        """Remember an acceptable number whose packet turned out to be authentic."""
        if number > self.highest:
            self._advance(number)
            self.bitmap |= self._top
        else:
            self.bitmap |= self._top >> (self.highest - number)

    def check_all(self, numbers: Numbers) -> bool:
        """Whether a whole, non-empty batch is acceptable because it only goes up, beyond the rest.

        ``False`` says nothing about single numbers: check those one by one.
        """
        first = int(numbers[0])
        return (
            first >= self.highest
            and self.check(first)
            and not np.count_nonzero(numbers[1:] <= numbers[:-1])
        )

    def mark_all(self, numbers: Numbers) -> None:
        """Remember a batch for which :meth:`check_all` said yes and that is all authentic."""
        last = int(numbers[-1])
        self._advance(last)
        count = len(numbers)
        if last - int(numbers[0]) == count - 1:
            seen = min(count, self.width)
            self.bitmap |= ((1 << seen) - 1) << (self.width - seen)
            return
        for number in numbers[-self.width :].tolist():
            self.bitmap |= self._top >> (last - number)

    def forget(self) -> None:
        """Forget which numbers up to ``highest`` were seen, as the reference does at promotion."""
        self.bitmap = 0

    def _advance(self, number: int) -> None:
        distance = number - self.highest
        self.bitmap = self.bitmap >> distance if distance < self.width else 0
        self.highest = number
