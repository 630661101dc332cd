"""Joining packets, and writing the device: the sixth hot function.

Packets of one flow that follow each other become one big packet again, written with a vnet header
that tells the kernel how they were cut. Only what the kernel would cut into the very same packets
is joined: their checksums are verified first, since a joined packet gets new ones.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple

import numpy as np

from chancel.daemon.hot.checksum import Words, checksum, right, sums, word
from chancel.daemon.hot.cut import GSO_TCP4, GSO_UDP, NEEDS_CHECKSUM, VNET
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

_IP4_HEADER = 20
_MAX_JOINED_BYTES = 65_535
_PASSING = frozenset({errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.EINVAL})
_UDP_HEAD = 28
_TCP, _UDP = 6, 17
_TCP_FLAGS = 33
_DONT_FRAGMENT = 0x40
_PSH = 0x08
_ACK = 0x10

_PLAIN = bytes(VNET.size)
_STEPS = np.arange(4096, dtype=np.uint32)


def _same_but(size: int, *fields: tuple[int, int]) -> Bytes:
    """A mask over headers of ``size`` bytes: all ones but in the fields (start, stop)."""
    mask = np.full(size, 0xFF, dtype=np.uint8)
    for start, stop in fields:
        mask[start:stop] = 0
    return mask


_TCP_SAME = _same_but(80, (2, 6), (10, 12), (24, 28), (36, 38))
_UDP_SAME = _same_but(28, (2, 6), (10, 12), (24, 28))
"""What must be equal: not length and id, checksums, sequence numbers."""


class DeviceWriter:
    """Writes one device descriptor and counts. ``uso``: UDP trains may be joined as well."""

    def __init__(self, fd: int, *, vnet: bool, uso: bool, frame_header: bytes) -> None:
        self.fd = fd
        self.vnet = vnet
        self.uso = uso
        self._frame_header = frame_header
        self._plain = (_PLAIN if vnet else b"") + frame_header
        self.packets = 0
        self.bytes = 0
        self.writes = 0
        self.drops: dict[Drop, int] = {}

    def one(self, packet: memoryview) -> None:
        """Write one packet as it is; the kernel verifies its checksums."""
        self._write([self._plain, packet], 1, len(packet))

    def joined(self, train: _Train, header: bytes, payload: memoryview) -> None:
        """Write a train as one packet with a vnet header."""
        vnet = VNET.pack(
            NEEDS_CHECKSUM,
            train.kind,
            len(self._frame_header) + train.head,
            train.segment,
            len(self._frame_header) + _IP4_HEADER,
            16 if train.kind == GSO_TCP4 else 6,
        )
        self._write(
            [vnet + self._frame_header + header, payload], train.packets, len(header) + len(payload)
        )

    def drop(self, reason: Drop, count: int = 1) -> None:
        """Count packets that go no further."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def _write(self, parts: list[bytes | memoryview], count: int, size: int) -> None:
        self.writes += 1
        try:
            os.writev(self.fd, parts)
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            self.drop(Drop.DEVICE_WRITE_FAILED, count)
            return
        self.packets += count
        self.bytes += size


class _Train(NamedTuple):
    """Packets that the kernel would cut the same way: ``segment`` payload bytes after ``head``."""

    kind: int
    head: int
    segment: int
    packets: int


def write_run(writer: DeviceWriter, slot: SlotView, run: Run) -> None:
    """Write a run of inner packets (tails behind them) to the device, joined where possible."""
    train = _train(writer, slot, run) if writer.vnet and run.packets > 1 else None
    if train is not None:
        most = (_MAX_JOINED_BYTES - train.head) // train.segment
        for first in range(0, run.packets, most):
            count = min(most, run.packets - first)
            _write_joined(writer, slot, run, train._replace(packets=count), first)
        return
    memory = slot.memory
    for i in range(run.packets):
        at = run.offset + i * run.size
        stop = (run.end if i == run.packets - 1 else at + run.size) - TAIL_BYTES
        writer.one(memory[at:stop])


def _train(writer: DeviceWriter, slot: SlotView, run: Run) -> _Train | None:
    """Recognise a run that may be joined whole; ``None`` where any doubt is left."""
    first = slot.memory[run.offset : run.offset + run.size - TAIL_BYTES]
    if len(first) < 48 or first[0] != 0x45 or first[6] & ~_DONT_FRAGMENT or first[7]:
        return None
    if first[9] == _TCP:
        head = _IP4_HEADER + (first[32] >> 4) * 4
        train = _Train(GSO_TCP4, head, len(first) - head, run.packets)
    elif first[9] == _UDP and writer.uso:
        train = _Train(GSO_UDP, _UDP_HEAD, len(first) - _UDP_HEAD, run.packets)
    else:
        return None
    if train.head < _UDP_HEAD or train.segment <= 0 or run.last - TAIL_BYTES <= train.head:
        return None
    rows = _rows(slot, run)
    heads = rows[:, : train.head].copy()
    lengths = np.full(run.packets, run.size - TAIL_BYTES, dtype=np.uint32)
    lengths[-1] = run.last - TAIL_BYTES
    same = _same_tcp_flow if train.kind == GSO_TCP4 else _same_udp_flow
    if not same(heads, train, lengths) or not _checksums_right(rows, heads, lengths):
        return None
    return train


def _rows(slot: SlotView, run: Run) -> Bytes:
    """The run as rows; with a short last packet a copy in which it is padded with zeros."""
    if run.last == run.size:
        return slot.rows(run.offset, run.size, run.packets)
    rows = np.zeros((run.packets, run.size), dtype=np.uint8)
    rows[:-1] = slot.rows(run.offset, run.size, run.packets - 1)
    rows[-1, : run.last] = slot.array[run.end - run.last : run.end]
    return rows


def _same_ip(heads: Bytes, lengths: Words) -> bool:
    """True lengths; ids count up, or don't matter since nobody may fragment."""
    words = heads[:, 2:6].view(">u2")
    if not (words[:, 0] == lengths).all():
        return False
    if heads[0, 6] & _DONT_FRAGMENT:
        return True
    ids = words[:, 1].astype(np.uint16)
    return bool((ids - ids[0] == _STEPS[: len(ids)]).all())


def _same_tcp_flow(heads: Bytes, train: _Train, lengths: Words) -> bool:
    """Sequence numbers continue; nothing but ACK set, and PSH on the last; all else is equal."""
    if heads[0, _TCP_FLAGS] != _ACK or int(heads[-1, _TCP_FLAGS]) | _PSH != _ACK | _PSH:
        return False
    numbers = heads[:, 24:28].view(">u4")[:, 0].astype(np.uint32)
    numbers -= numbers[0]
    if not (numbers == _STEPS[: len(heads)] * np.uint32(train.segment)).all():
        return False
    differences = (heads ^ heads[0]) & _TCP_SAME[: train.head]
    differences[-1, _TCP_FLAGS] &= 0xFF ^ _PSH
    return not differences.any() and _same_ip(heads, lengths)


def _same_udp_flow(heads: Bytes, _train: _Train, lengths: Words) -> bool:
    """True lengths, and a checksum in each (the kernel will make one for each); the same ports."""
    words = heads[:, 24:28].view(">u2")
    return bool(
        words[:, 1].all()
        and (words[:, 0] == lengths - _IP4_HEADER).all()
        and not ((heads ^ heads[0]) & _UDP_SAME).any()
        and _same_ip(heads, lengths)
    )


def _checksums_right(rows: Bytes, heads: Bytes, lengths: Words) -> bool:
    """Whether IP and transport checksums of all packets hold.

    Behind an odd packet the first tail byte, which is zero, completes the last word.
    """
    if not right(sums(heads[:, :_IP4_HEADER])):
        return False
    size = rows.shape[1] - TAIL_BYTES
    body = rows[:, _IP4_HEADER : size + (size - _IP4_HEADER) % 2]
    pseudo = checksum(heads[0, 12:20].tobytes(), int(heads[0, 9]) + int(lengths[0]) - _IP4_HEADER)
    total = sums(body) + word(65535 - pseudo)
    total[-1] += np.uint32(word((int(lengths[-1]) - int(lengths[0])) % 65535))
    return right(total)


def _write_joined(
    writer: DeviceWriter, slot: SlotView, run: Run, train: _Train, first: int
) -> None:
    """Join ``train.packets`` packets from the ``first`` on."""
    at = run.offset + first * run.size
    with_last = first + train.packets == run.packets
    rest = (run.last if with_last else run.size) - TAIL_BYTES - train.head
    end = at + (train.packets - 1) * run.size
    if train.packets == 1:
        writer.one(slot.memory[at : at + train.head + rest])
        return
    payload = np.empty((train.packets - 1) * train.segment + rest, dtype=np.uint8)
    payload[:-rest].reshape(-1, train.segment)[:] = slot.rows(at, run.size, train.packets - 1)[
        :, train.head : -TAIL_BYTES
    ]
    payload[-rest:] = slot.array[end + train.head : end + train.head + rest]
    header = bytearray(slot.memory[at : at + train.head])
    if train.kind == GSO_TCP4:
        header[_TCP_FLAGS] = slot.memory[end + _TCP_FLAGS]
    _complete(header, train, len(payload))
    writer.joined(train, bytes(header), payload.data)


def _complete(header: bytearray, train: _Train, payload_bytes: int) -> None:
    """Lengths, the IP checksum, and the pseudo header's sum where the transport's checksum goes."""
    total = len(header) + payload_bytes
    struct.pack_into("!H", header, 2, total)
    header[10:12] = b"\0\0"
    struct.pack_into("!H", header, 10, checksum(header[:_IP4_HEADER]))
    if train.kind == GSO_UDP:
        struct.pack_into("!H", header, 24, total - _IP4_HEADER)
    pseudo = 0xFFFF ^ checksum(header[12:20], header[9] + total - _IP4_HEADER)
    struct.pack_into("!H", header, 36 if train.kind == GSO_TCP4 else 26, pseudo)
