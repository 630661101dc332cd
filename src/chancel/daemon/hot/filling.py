"""Filling a slot with packets: equal ones become one run.

The open run takes packets of its own size; a shorter one becomes its last and closes it; anything
else begins a new run. The order of packets is the order of arrival. Checksums that the kernel left
to the device are completed when a run closes, for all its packets in one expression.
"""

from __future__ import annotations

import struct

import numpy as np

from chancel.daemon.hot.checksum import checksum, finish, sums
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS, Run

GROWTH_BYTES = 48
"""What sealing adds to a packet that carries its tail: 32 bytes of header and 16 of tag."""

_ALIGN = 16
_VECTOR_FROM = 6

Checksum = tuple[int, int]
"""Where summing starts, and where in the packet the checksum goes."""


class Filling:
    """The runs of one batch in the making. Packets lie with two zero bytes behind each: the tail.

    Room is counted as the packets will be once sealed, so that a batch fits a slot everywhere.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._room = 0
        self._open: Run | None = None
        self._checksum: Checksum | None = None

    def begin(self, slot: SlotView) -> None:
        """Start a batch in an empty slot."""
        self.slot = slot
        self.runs = []
        self._room = len(slot.memory)
        self._open = None
        self._end = 0

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
        at = self._place(tunnel, next_, size, needs)
        memory = self.slot.memory
        memory[at : at + size - 2] = data
        memory[at + size - 2 : at + size] = b"\0\0"

    def train(self, tunnel: int, count: int, size: int, last: int) -> int:
        """Make room for ``count`` packets (sizes with tails) and return where they begin.

        The caller writes the packets, tails and checksums included.
        """
        run = self._open
        if (
            run
            and self._checksum is None
            and size == run.size
            and _extends(run, tunnel, 0, size, count)
        ):
            at = run.end
            self._open = run._replace(packets=run.packets + count, last=last)
        else:
            at = self._new(tunnel, 0, count, size, last, None)
        self._end = at + (count - 1) * size + last
        self._room -= count * (size + GROWTH_BYTES)
        return at

    def finish(self) -> list[Run]:
        """Close the open run and return all of the batch."""
        self._close()
        return self.runs

    def _place(self, tunnel: int, next_: int, size: int, needs: Checksum | None) -> int:
        run = self._open
        self._room -= size + GROWTH_BYTES
        if run and needs == self._checksum and _extends(run, tunnel, next_, size, 1):
            at = run.end
            self._open = run._replace(packets=run.packets + 1, last=size)
        else:
            at = self._new(tunnel, next_, 1, size, size, needs)
        self._end = at + size
        return at

    def _new(
        self, tunnel: int, next_: int, count: int, size: int, last: int, needs: Checksum | None
    ) -> int:
        self._close()
        at = -(-self._end // _ALIGN) * _ALIGN
        self._room -= _ALIGN
        self._open = Run(tunnel, next_, count, size, last, at)
        self._checksum = needs
        return at

    def _close(self) -> None:
        run = self._open
        if run is None:
            return
        if self._checksum:
            self._complete(run, *self._checksum)
        self.runs.append(run)
        self._open = None

    def _complete(self, run: Run, start: int, field: int) -> None:
        """Complete the checksums of a run; the kernel left the pseudo header's sum in the field."""
        alone = run.packets
        if run.packets >= _VECTOR_FROM:
            whole = run.packets if run.last == run.size else run.packets - 1
            rows = self.slot.rows(run.offset, run.size, whole)
            until = run.size - 2 + (run.size - start) % 2
            values = finish(sums(rows[:, start:until]))
            values[values == 0] = 0xFFFF  # 0 would say "no checksum" in UDP; elsewhere it is equal
            rows[:, start + field : start + field + 2].view(np.uint16)[:, 0] = values
            alone = run.packets - whole
        memory = self.slot.memory
        for i in range(run.packets - alone, run.packets):
            at = run.offset + i * run.size
            stop = at + (run.last if i == run.packets - 1 else run.size) - 2
            value = checksum(memory[at + start : stop]) or 0xFFFF
            struct.pack_into("!H", memory, at + start + field, value)


def _extends(run: Run, tunnel: int, next_: int, size: int, count: int) -> bool:
    """Whether ``count`` packets may follow in the open run."""
    return (
        run.tunnel == tunnel
        and run.next == next_
        and run.last == run.size
        and size <= run.size
        and run.packets + count <= MAX_RUN_PACKETS
    )
