"""Where traffic for one tunnel end goes, and how much of it may go there.

The limit is a bucket that leaks (cathedral section 4.7): what passes fills it, each millisecond
drains it, and while it is full nothing passes. It starts empty, so a burst of its size passes at
once.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from chancel.wire.drop import Drop
from chancel.wire.types import Address

_MEBIBYTE: Final = 1_048_576
_BITS: Final = 8


def limit_bytes(mbit: int) -> int:
    """Return the size in bytes of the bucket for a setting of ``mbit``; 0 is unlimited.

    From 8 on as in the reference, which divides by 8 first: 15 is 1 MiB, like 8. From 1 to 7 that
    division leaves it without any limit; here these are eighths of a MiB.
    """
    eighths = mbit if mbit < _BITS else mbit // _BITS * _BITS
    return eighths * _MEBIBYTE // _BITS


class Relayed:
    """What all routes have in common: counts of relayed traffic, and of the routes' own changes.

    ``octets`` are those that went out. ``changes``: as long as it is the same, everything that
    :meth:`Cathedral.route` has said holds.
    """

    __slots__ = ("changes", "drops", "octets", "packets_in", "packets_out")

    def __init__(self, drops: Counter[Drop]) -> None:
        self.drops = drops
        self.changes = 0
        self.packets_in = 0
        self.packets_out = 0
        self.octets = 0

    def passed(self, octets: int, packets: int) -> None:
        """Count packets, of ``octets`` bytes altogether, that passed where nothing is limited."""
        self.packets_in += packets
        self.packets_out += packets
        self.octets += octets

    def reset(self) -> None:
        """Count packets and bytes from zero; drops stay."""
        self.packets_in = self.packets_out = self.octets = 0


class Route:
    """The way to one registered tunnel end; the object stays the same as long as it is registered.

    ``destination`` changes when the device moves: look at it for each train. ``federated``: it is
    another cathedral, which passes on to the device.
    """

    __slots__ = (
        "_at_ms",
        "_drain",
        "_level",
        "_limit",
        "_relayed",
        "destination",
        "federated",
        "is_limited",
    )

    def __init__(self, destination: Address, relayed: Relayed, mbit: int) -> None:
        self.destination = destination
        self.federated = False
        self._relayed = relayed
        self._level = 0
        self._at_ms = 0
        self._limit = 0
        self._drain = 0
        self.is_limited = False
        self.set_limit(mbit)

    def set_limit(self, mbit: int) -> None:
        """Change the limit; what has passed already stays counted."""
        limit = limit_bytes(mbit)
        if limit == self._limit:
            return
        self._relayed.changes += 1
        self._limit = limit
        self.is_limited = self._limit != 0
        self._drain = self._limit // 1000

    def returns_to(self, source: Address) -> bool:
        """Whether what came from there would go back: to a cathedral that sent it here."""
        return self.federated and self.destination == source

    def admit(self, octets: int, packets: int, now: float) -> int:
        """Return how many of ``packets`` packets, of ``octets`` bytes each, may pass now.

        They are the first of them; the others are counted as dropped, and all in the statistics.
        Sizes are those of whole datagrams without a shroud.
        """
        relayed = self._relayed
        relayed.packets_in += packets
        passing = packets if self._limit == 0 else self._pour(octets, packets, now)
        relayed.packets_out += passing
        relayed.octets += passing * octets
        return passing

    def admit_train(self, octets: int, packets: int, last: int, now: float) -> int:
        """The same for packets of one size of which the last has ``last`` bytes."""
        if last == octets:
            return self.admit(octets, packets, now)
        # Nothing drains in between: once one was refused the last is, too.
        return self.admit(octets, packets - 1, now) + self.admit(last, 1, now)

    def pass_train(self, octets: int, packets: int) -> None:
        """Count packets, of ``octets`` bytes altogether, that pass where nothing is limited."""
        self._relayed.passed(octets, packets)

    def _pour(self, octets: int, packets: int, now: float) -> int:
        at_ms = int(now * 1000)
        elapsed = at_ms - self._at_ms
        if elapsed >= 1:
            self._at_ms = at_ms
            self._level = max(0, self._level - self._drain * elapsed)
        # One passes while the level is below the limit, and may fill it over the brim.
        room = -(-(self._limit - self._level) // octets)
        passing = max(0, min(packets, room))
        self._level += passing * octets
        if passing < packets:
            self._relayed.drops[Drop.BANDWIDTH] += packets - passing
        return passing
