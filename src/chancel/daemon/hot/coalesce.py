"""Joining packets of one flow that follow each other to the big packet that the kernel would cut.

Only what the kernel would cut into the very same packets is joined (``trains``). A vnet header
tells it how they were cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from chancel.daemon.hot.cut import NEEDS_CHECKSUM, VNET
from chancel.daemon.hot.trains import Layout, Train
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.wire.traffic import TAIL_BYTES

Part: TypeAlias = bytes | bytearray | memoryview

_put = struct.Struct("!H").pack_into

MAX_JOINED_BYTES = 65_535
MAX_JOINED_UDP = 64
"""Packets of UDP in one train: 128 in new kernels, 64 in those before 6.9. One of more is refused
as if the device took none at all."""

_LARGE: Final = 1024
"""Bytes of payloads that the kernel gathers, which spares a copy of 64 KiB: 1.5 µs a train. Of
smaller ones there are more than 64 in a train, which costs the kernel more than copying them costs
us, and it takes 1,024 parts at most."""


def big_packets(
    slot: SlotView, run: Run, train: Train, starts: list[int], frame_header: bytes
) -> Iterator[tuple[int, int, int, list[Part]]]:
    """What a run is written as, where each train begins at one of ``starts``: one big packet or
    more for each, of as many of its packets as fit.

    Yields the numbers of the first packet and of that behind the last, the size of the big packet,
    and its parts: vnet header and ``frame_header``, headers, payload, and what the last, shorter
    packet adds to that. A packet that stays alone has neither size nor parts.

    A generator, since what is the same for all trains of a run is most of what has to be known.
    """
    layout, head, segment = train
    _, _, packets, size, last, offset, _ = run
    memory = slot.memory
    before = VNET.pack(
        NEEDS_CHECKSUM,
        layout.kind,
        len(frame_header) + head,
        segment,
        len(frame_header) + layout.start,
        layout.checksum - layout.start,
    )
    before += frame_header
    most = (MAX_JOINED_BYTES - head) // segment
    if not layout.tcp:
        most = min(most, MAX_JOINED_UDP)
    equal = packets if last == size else packets - 1
    payloads: list[memoryview] = []
    if segment >= _LARGE:
        payloads = slot.packets(offset, size, equal, head, size - TAIL_BYTES)
    for start, behind in zip(starts, [*starts[1:], packets], strict=True):
        for first in range(start, behind, most):
            stop = min(behind, first + most)
            if stop - first == 1:
                yield first, stop, 0, []
                continue
            at, end = offset + first * size, offset + (stop - 1) * size
            header = bytearray(memory[at : at + head])
            if layout.tcp:
                header[layout.flags] = memory[end + layout.flags]
            parts: list[Part] = [before, header]
            whole = min(stop, equal) - first
            if payloads:
                parts += payloads[first : first + whole]
            else:
                parts.append(slot.rows(at, size, whole)[:, head:-TAIL_BYTES].tobytes())
            total = head + whole * segment
            if stop > equal:
                parts.append(memory[end + head : end + last - TAIL_BYTES])
                total += last - TAIL_BYTES - head
            _complete(header, layout, total)
            yield first, stop, total, parts


def _complete(header: bytearray, layout: Layout, total: int) -> None:
    """Make the headers of the first packet, which was intact, those of one of ``total`` bytes: with
    its lengths, and the pseudo header's sum where the transport's checksum goes."""
    at, start = layout.length, layout.start
    length = total - layout.counted
    if layout.version == 4:
        # What the length has more, the sum has: RFC 1624.
        more = length - (header[at] << 8 | header[at + 1])
        at_sum = layout.ip + 10
        _put(header, at_sum, ((header[at_sum] << 8 | header[at_sum + 1]) - more) % 65535)
    _put(header, at, length)
    if not layout.tcp:
        _put(header, start + 4, total - start)
    pseudo = int.from_bytes(header[layout.addresses : start]) + layout.protocol + total - start
    _put(header, layout.checksum, pseudo % 65535 or 0xFFFF)
