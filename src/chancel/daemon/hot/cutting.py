"""Cutting trains: the kernel's big packets become those that it would have made itself.

Trains that follow each other are mostly alike, and go into one run. Each is laid into the slot as
soon as it was read, while it is in the cache: payloads, and headers that are broadcast. What
differs from packet to packet (ids, sequence numbers, checksums) is made when no other train
follows, as vectors over the packets of all of them.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TypeAlias

import numpy as np

from chancel.daemon.hot.checksum import Words, finish, sums
from chancel.daemon.hot.cut import CWR, FIN_PSH, IP6_HEADER
from chancel.daemon.hot.views import Bytes, SlotView

Shape: TypeAlias = tuple[bool, int, int, int, int, int]
"""What alike trains have in common: a :class:`Train` as far as ``segment``."""

_TCP, _UDP = 6, 17
_WORD, _WORDS, _LONG = struct.Struct("!H"), struct.Struct("!HH"), struct.Struct("!I")
_EITHER_WORD, _BIG_WORD, _BIG_LONG = "=u2", ">u2", ">u4"
_MAX_LONG = 0xFFFF_FFFF
_NUMBERS = 65_536


@cache
def _numbers() -> Words:
    """From 0 on, as many as two bytes count."""
    return np.arange(_NUMBERS, dtype=np.uint32)


def _set_size(headers: memoryview, shape: Shape, size: int) -> None:
    """Make headers those of a packet of ``size`` bytes, whose checksum isn't made yet: in its place
    is what the pseudo header has beside the addresses, the sum of protocol and length."""
    tcp, version, ip, start, _head, _segment = shape
    if version == 4:
        _WORD.pack_into(headers, ip + 2, size - ip)
    else:
        _WORD.pack_into(headers, ip + 4, size - ip - IP6_HEADER)
    length = size - start
    if tcp:
        _WORD.pack_into(headers, start + 16, _TCP + length)
    else:
        _WORDS.pack_into(headers, start + 4, length, _UDP + length)


class Cutting:
    """Trains of one shape, one behind the other in a slot, from ``at`` on.

    Each is taken from ``packet``, which lies in ``array`` as well. Only the last of them may have a
    shorter packet at its end.
    """

    __slots__ = (
        "_array",
        "_at",
        "_count",
        "_counts",
        "_own",
        "_packet",
        "_rest",
        "_shape",
        "_slot",
    )

    def __init__(
        self, slot: SlotView, at: int, shape: Shape, packet: memoryview, array: Bytes
    ) -> None:
        self._slot, self._at = slot, at
        self._shape = shape
        self._packet, self._array = packet, array
        self._count = self._rest = 0
        self._counts: list[int] = []
        self._own: list[int] = []
        """Of each train: the identification and (third) the sequence number that the first packet
        of all would have if it were of this train, and the IPv4 header's sum but for the former."""

    def add(self, count: int, rest: int, flags: int) -> None:
        """Lay a train into the slot; the big packet's headers become those of one in the middle.

        FIN and PSH belong to the last packet, CWR to the first.
        """
        tcp, version, ip, start, head, segment = shape = self._shape
        slot, packet, array, done = self._slot, self._packet, self._array, self._count
        identity = header = sequence = 0
        _set_size(packet, shape, head + segment)
        if version == 4:
            packet[ip + 10 : ip + 12] = b"\0\0"
            (identity,) = _WORD.unpack_from(packet, ip + 4)
            header = (int.from_bytes(packet[ip:start]) - identity) % 65535
        if tcp:
            (sequence,) = _LONG.unpack_from(packet, start + 4)
            packet[start + 13] = flags & ~(FIN_PSH | CWR)
        self._own += (identity - done) & _MAX_LONG, header, (sequence - done * segment) & _MAX_LONG
        self._counts.append(count)
        self._count, self._rest = done + count, rest
        stride = head + segment + 2
        at = self._at + done * stride
        end = at + count * stride
        rows = slot.array[at:end].reshape(count, stride)
        rows[:, :head] = array[:head]
        equal = count if rest == segment else count - 1
        stop = head + equal * segment
        rows[:equal, head:-2] = array[head:stop].reshape(equal, segment)
        if equal < count:
            last = slot.memory[end - stride : end]
            _set_size(last, shape, head + rest)
            last[head : head + rest] = packet[stop : stop + rest]
            last[head + rest :] = bytes(segment - rest + 2)
        if tcp and flags & (FIN_PSH | CWR):
            slot.memory[at + start + 13] |= flags & CWR
            slot.memory[end - stride + start + 13] |= flags & FIN_PSH

    def finish(self) -> tuple[int, int, int]:
        """Make what is each packet's own, and the tails; nothing may be added afterwards.

        Returns how many trains and packets there were, and their bytes.
        """
        tcp, version, ip, start, head, segment = self._shape
        memory, at, stride = self._slot.memory, self._at, head + segment + 2
        trains, shape, strides = len(self._counts), (self._count,), (stride,)
        shorter, numbers = segment - self._rest, _numbers()[: self._count]
        np.ndarray(shape, _EITHER_WORD, memory, at + stride - 2, strides)[:] = 0
        identity: int | Words
        header: int | Words
        sequence: int | Words
        if trains == 1:
            identity, header, sequence = self._own
        else:
            own = np.array(self._own, np.uint32).reshape(trains, 3).repeat(self._counts, axis=0)
            identity, header, sequence = own[:, 0], own[:, 1], own[:, 2]
        if version == 4:
            ids = (numbers + identity) & np.uint32(0xFFFF)
            np.ndarray(shape, _BIG_WORD, memory, at + ip + 4, strides)[:] = ids
            total: Words = np.add(ids, header)
            if shorter:
                total[-1] += np.uint32(65535 - shorter)
            np.ndarray(shape, _BIG_WORD, memory, at + ip + 10, strides)[:] = finish(total)
        if tcp:
            sequences = numbers * np.uint32(segment) + sequence
            np.ndarray(shape, _BIG_LONG, memory, at + start + 4, strides)[:] = sequences
        self._transport_checksums()
        return trains, self._count, self._count * (head + segment) - shorter

    def _transport_checksums(self) -> None:
        tcp, version, ip, start, head, segment = self._shape
        slot, at, count, stride = self._slot, self._at, self._count, head + segment + 2
        rows = slot.array[at : at + count * stride].reshape(count, stride)
        begin, end = (ip + 12, ip + 20) if version == 4 else (ip + 8, ip + 40)
        stop = stride - 2 + stride % 2  # headers have an even size
        if end == start:
            total = sums(rows[:, begin:stop])
        else:
            total = sums(rows[:, begin:end]) + sums(rows[:, start:stop])
        values = finish(total)
        if not tcp:
            values[values == 0] = 0xFFFF
        field = at + start + (16 if tcp else 6)
        np.ndarray((count,), _EITHER_WORD, slot.memory, field, (stride,))[:] = values
