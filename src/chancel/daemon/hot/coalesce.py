"""Joining packets of one flow that follow each other to the big packet that the kernel would cut.

Only what the kernel would cut into the very same packets is joined (``trains``). A vnet header
tells it how they were cut.
"""

from __future__ import annotations

import struct

from chancel.daemon.hot.checksum import checksum
from chancel.daemon.hot.cut import NEEDS_CHECKSUM, VNET
from chancel.daemon.hot.trains import Layout, Train
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.wire.traffic import TAIL_BYTES

MAX_JOINED_BYTES = 65_535
MAX_JOINED_UDP = 64
"""Packets of UDP in one train: 128 in new kernels, 64 in those before 6.9. One of more is refused
as if the device took none at all."""


def vnet_header(train: Train, before: int) -> bytes:
    """The vnet header of a train; ``before``: bytes between it and the packet."""
    layout = train.layout
    return VNET.pack(
        NEEDS_CHECKSUM,
        layout.kind,
        before + train.head,
        train.segment,
        before + layout.start,
        layout.checksum - layout.start,
    )


def most_joined(train: Train) -> int:
    """How many packets of a train fit into one that the device takes."""
    most = (MAX_JOINED_BYTES - train.head) // train.segment
    return most if train.layout.tcp else min(most, MAX_JOINED_UDP)


def join(slot: SlotView, run: Run, train: Train, into: Bytes) -> tuple[bytearray, memoryview]:
    """Headers and payload of all packets of a run as one; the payload lies in ``into``."""
    rest = run.last - TAIL_BYTES - train.head
    last = run.end - run.last
    whole = (run.packets - 1) * train.segment
    into[:whole].reshape(-1, train.segment)[:] = slot.rows(run.offset, run.size, run.packets - 1)[
        :, train.head : -TAIL_BYTES
    ]
    into[whole : whole + rest] = slot.array[last + train.head : run.end - TAIL_BYTES]
    header = bytearray(slot.memory[run.offset : run.offset + train.head])
    if train.layout.tcp:
        header[train.layout.flags] = slot.memory[last + train.layout.flags]
    _complete(header, train.layout, whole + rest)
    return header, into.data[: whole + rest]


def _complete(header: bytearray, layout: Layout, payload_bytes: int) -> None:
    """Lengths, the IP checksum, and the pseudo header's sum where the transport's checksum goes."""
    total = len(header) + payload_bytes
    struct.pack_into("!H", header, layout.length, total - layout.counted)
    if layout.version == 4:
        checksum_at = layout.ip + 10
        header[checksum_at : checksum_at + 2] = b"\0\0"
        struct.pack_into("!H", header, checksum_at, checksum(header[layout.ip : layout.start]))
    if not layout.tcp:
        struct.pack_into("!H", header, layout.start + 4, total - layout.start)
    addresses = header[layout.addresses : layout.start]
    pseudo = 0xFFFF ^ checksum(addresses, layout.protocol + total - layout.start)
    struct.pack_into("!H", header, layout.checksum, pseudo)
