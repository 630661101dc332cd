"""Joining packets, and writing the device: the sixth hot function.

Packets of one flow that follow each other become one big packet again, written with a vnet header
that tells the kernel how they were cut. Only what the kernel would cut into the very same packets
is joined (``trains``).
"""

from __future__ import annotations

import errno
import os
import struct

import numpy as np

from chancel.daemon.hot.checksum import checksum
from chancel.daemon.hot.cut import (
    ETHERNET_BYTES,
    GSO_TCP4,
    GSO_TCP6,
    GSO_UDP,
    NEEDS_CHECKSUM,
    VNET,
)
from chancel.daemon.hot.trains import Layout, Train, joints, recognise
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

_MAX_JOINED_BYTES = 65_535
_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EINVAL,
        errno.EIO,
        errno.EMSGSIZE,
        errno.ENETDOWN,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)
_PLAIN = bytes(VNET.size)
_IP6_TYPE = b"\x86\xdd"


class DeviceWriter:
    """Writes one device descriptor and counts. ``uso``: UDP trains may be joined as well.

    ``frame_header`` is what the device wants before each IPv4 packet: nothing, or an Ethernet
    header, which gets another type before IPv6. ``ethernet``: packets are Ethernet frames.
    ``joins`` holds the kinds of train that the device takes; one that it refuses is given up.
    """

    def __init__(
        self, fd: int, *, vnet: bool, uso: bool, frame_header: bytes, ethernet: bool = False
    ) -> None:
        self.fd = fd
        self.joins = ({GSO_TCP4, GSO_TCP6} | ({GSO_UDP} if uso else set())) if vnet else set()
        self.ip = ETHERNET_BYTES if ethernet else 0
        self._frame_header = frame_header
        self._frame_header6 = frame_header and frame_header[:-2] + _IP6_TYPE
        self._plain = (_PLAIN if vnet else b"") + frame_header
        self._plain6 = (_PLAIN if vnet else b"") + self._frame_header6
        self.packets = 0
        self.bytes = 0
        self.writes = 0
        self.drops: dict[Drop, int] = {}

    def one(self, packet: memoryview) -> None:
        """Write one packet as it is; the kernel verifies its checksums."""
        plain = self._plain6 if packet[0] >> 4 == 6 else self._plain
        if self._write([plain, packet], 1, len(packet)) == errno.EINVAL:
            self.drop(Drop.DEVICE_WRITE_FAILED)

    def joined(self, train: Train, header: bytes, payload: memoryview) -> bool:
        """Write a train as one packet with a vnet header; False if the device takes none."""
        layout = train.layout
        frame_header = self._frame_header if layout.version == 4 else self._frame_header6
        vnet = VNET.pack(
            NEEDS_CHECKSUM,
            layout.kind,
            len(frame_header) + train.head,
            train.segment,
            len(frame_header) + layout.start,
            layout.checksum - layout.start,
        )
        start = vnet + frame_header + header
        if self._write([start, payload], train.packets, len(header) + len(payload)) != errno.EINVAL:
            return True
        self.joins.discard(layout.kind)
        return False

    def drop(self, reason: Drop, count: int = 1) -> None:
        """Count packets that go no further."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def _write(self, parts: list[bytes | memoryview], count: int, size: int) -> int:
        """Returns 0, or the error: ``EINVAL`` is the caller's to count, others are counted."""
        self.writes += 1
        try:
            os.writev(self.fd, parts)
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            if error.errno != errno.EINVAL:
                self.drop(Drop.DEVICE_WRITE_FAILED, count)
            return error.errno
        self.packets += count
        self.bytes += size
        return 0


def write_run(writer: DeviceWriter, slot: SlotView, run: Run) -> None:
    """Write a run of inner packets (tails behind them) to the device, joined where possible."""
    train = recognise(slot, run, writer.joins, writer.ip) if run.packets > 1 else None
    if train is None:
        _write_each(writer, slot, run)
        return
    starts = np.flatnonzero(~joints(slot, run, train)).tolist()
    most = (_MAX_JOINED_BYTES - train.head) // train.segment
    for start, stop in zip(starts, [*starts[1:], run.packets], strict=True):
        for first in range(start, stop, most):
            part = _part(run, first, min(stop, first + most))
            joined = part.packets > 1 and _write_joined(writer, slot, part, train)
            if not joined:
                _write_each(writer, slot, part)


def _part(run: Run, start: int, stop: int) -> Run:
    """Packets ``start`` to ``stop`` of a run, as a run."""
    return run._replace(
        packets=stop - start,
        last=run.last if stop == run.packets else run.size,
        offset=run.offset + start * run.size,
    )


def _write_each(writer: DeviceWriter, slot: SlotView, run: Run) -> None:
    for i in range(run.packets):
        at = run.offset + i * run.size
        stop = (run.end if i == run.packets - 1 else at + run.size) - TAIL_BYTES
        writer.one(slot.memory[at:stop])


def _write_joined(writer: DeviceWriter, slot: SlotView, run: Run, train: Train) -> bool:
    """Join all packets of a run into one; False if the device takes none such."""
    rest = run.last - TAIL_BYTES - train.head
    last = run.end - run.last
    payload = np.empty((run.packets - 1) * train.segment + rest, dtype=np.uint8)
    payload[:-rest].reshape(-1, train.segment)[:] = slot.rows(
        run.offset, run.size, run.packets - 1
    )[:, train.head : -TAIL_BYTES]
    payload[-rest:] = slot.array[last + train.head : run.end - TAIL_BYTES]
    header = bytearray(slot.memory[run.offset : run.offset + train.head])
    if train.layout.tcp:
        header[train.layout.flags] = slot.memory[last + train.layout.flags]
    _complete(header, train.layout, len(payload))
    return writer.joined(train._replace(packets=run.packets), bytes(header), payload.data)


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
