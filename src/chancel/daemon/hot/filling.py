"""Filling a slot with packets: equal ones become one run.

The open run takes packets of its own size; a shorter one becomes its last and closes it; anything
else begins a new run. The order of packets is the order of arrival. Checksums that the kernel left
to the device are completed when a run closes, for all its packets in one expression.
"""

from __future__ import annotations

import struct

from chancel.daemon.hot.checksum import finish, sums
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS, Run

GROWTH_BYTES = 48
"""What sealing adds to a packet that carries its tail: 32 bytes of header and 16 of tag."""

_ALIGN = 16
_VECTOR_FROM = 6
_TAIL = b"\0\0"
_WORD = struct.Struct("!H")

Checksum = tuple[int, int]
"""Where summing starts, and where from there the checksum goes."""

_new = tuple.__new__  # Run._make, without its Python


def complete(memory: memoryview, at: int, end: int, start: int, field: int) -> None:
    """Complete the checksum of one packet with its tail, which lies from ``at`` to ``end``."""
    at += start
    stop = end - 2
    total = int.from_bytes(memory[at : stop + (stop - at) % 2])  # with a zero of the tail
    _WORD.pack_into(memory, at + field, 65535 - total % 65535)


class Filling:
    """The runs of one batch in the making. Packets lie with two zero bytes behind each: the tail.

    Room is counted as the packets will be once sealed, so that a batch fits a slot everywhere.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.end = 0
        """Where the last packet ends, tail included."""
        self._room = 0
        self._tunnel = self._next = 0
        self._count = 0
        """Packets of the open run; 0 while there is none."""
        self._size = self._last = self._offset = 0
        self._checksum: Checksum | None = None

    def begin(self, slot: SlotView) -> None:
        """Start a batch in an empty slot."""
        self.slot = slot
        self.runs = []
        self._room = len(slot.memory)
        self._count = self.end = 0

    def fits(self, count: int, packet_bytes: int) -> bool:
        """Whether so many packets of that size surely fit, now."""
        return (
            self._room >= count * (packet_bytes + 2 + GROWTH_BYTES) + 2 * _ALIGN
            and len(self.runs) < MAX_RUNS - 1
        )

    def room(self, packet_bytes: int) -> int:
        """How many packets of that size fit at most, now, as one train."""
        free = (self._room - 2 * _ALIGN) // (packet_bytes + 2 + GROWTH_BYTES)
        return min(free, MAX_RUN_PACKETS)

    def packet(
        self, tunnel: int, next_: int, data: memoryview, needs: Checksum | None = None
    ) -> None:
        """Append one packet; ``needs`` says that its checksum is still to be completed."""
        size = len(data) + 2
        if (
            self._count
            and size <= self._size == self._last
            and needs == self._checksum
            and self._next == next_
            and self._tunnel == tunnel
            and self._count < MAX_RUN_PACKETS
        ):
            at = self.end
            self._count += 1
            self._last = size
        else:
            at = self._begin(tunnel, next_, 1, size, size, needs)
        self.end = end = at + size
        self._room -= size + GROWTH_BYTES
        memory = self.slot.memory
        memory[at : end - 2] = data
        memory[end - 2 : end] = _TAIL

    def repeats(self, count: int, packet_bytes: int) -> int:
        """How many times a packet like the last one may follow while, before each, so many packets
        of that size surely fit."""
        spare = self._room - count * (packet_bytes + 2 + GROWTH_BYTES) - 2 * _ALIGN
        if spare < 0:
            return 0
        return min(spare // (self._last + GROWTH_BYTES) + 1, MAX_RUN_PACKETS - self._count)

    def repeated(self, count: int) -> None:
        """That many packets like the last one were written behind it, with their tails."""
        self._count += count
        self.end += count * self._last
        self._room -= count * (self._last + GROWTH_BYTES)

    def train(self, tunnel: int, count: int, size: int, last: int) -> int:
        """Make room for ``count`` packets (sizes with tails) and return where they begin.

        The caller writes the packets, tails and checksums included.
        """
        if (
            self._count
            and size == self._size == self._last
            and self._checksum is None
            and self._next == 0
            and self._tunnel == tunnel
            and self._count + count <= MAX_RUN_PACKETS
        ):
            at = self.end
            self._count += count
            self._last = last
        else:
            at = self._begin(tunnel, 0, count, size, last, None)
        self.end = at + (count - 1) * size + last
        self._room -= count * (size + GROWTH_BYTES)
        return at

    def follow(self) -> int:
        """How many packets of the open run's size it has room for, now."""
        free = (self._room - 2 * _ALIGN) // (self._size + GROWTH_BYTES)
        return min(free, MAX_RUN_PACKETS - self._count)

    def followed(self, count: int, last: int) -> None:
        """That many packets were written behind the open run's, the last of ``last`` bytes."""
        self._count += count
        self.end += (count - 1) * self._size + last
        self._room -= count * (self._size + GROWTH_BYTES)
        self._last = last

    def finish(self) -> list[Run]:
        """Close the open run and return all of the batch."""
        if self._count:
            self._close()
        return self.runs

    def _begin(
        self, tunnel: int, next_: int, count: int, size: int, last: int, needs: Checksum | None
    ) -> int:
        if self._count:
            self._close()
        self._tunnel, self._next = tunnel, next_
        self._count, self._size, self._last = count, size, last
        self._offset = -(-self.end // _ALIGN) * _ALIGN
        self._checksum = needs
        self._room -= _ALIGN
        return self._offset

    def _close(self) -> None:
        if self._checksum:
            self._complete(*self._checksum)
        self.runs.append(
            _new(
                Run,
                (
                    self._tunnel,
                    self._next,
                    self._count,
                    self._size,
                    self._last,
                    self._offset,
                    b"",
                ),
            )
        )
        self._count = 0

    def _complete(self, start: int, field: int) -> None:
        """Complete the checksums of a run; the kernel left the pseudo header's sum in the field."""
        size, offset = self._size, self._offset
        first = 0
        if self._count >= _VECTOR_FROM:
            first = self._count if self._last == size else self._count - 1
            rows = self.slot.rows(offset, size, first)
            until = size - 2 + (size - start) % 2
            values = finish(sums(rows[:, start:until]))
            values[values == 0] = 0xFFFF  # 0 would say "no checksum" in UDP; elsewhere it is equal
            self.slot.column("=u2", offset + start + field, size, first)[:] = values
        memory, end = self.slot.memory, self.end
        for at in range(offset + first * size, end, size):
            complete(memory, at, min(at + size, end), start, field)
