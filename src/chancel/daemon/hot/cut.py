"""Cutting trains: big packets of the kernel's into those that it would have made itself.

With the kernel's offloads one read of the device yields up to 64 KiB of one TCP (or UDP) flow
behind a vnet header (``struct virtio_net_hdr`` of Linux). Headers are broadcast; lengths, ids,
sequence numbers and checksums are vectors.

A TAP device gives whole Ethernet frames. They are cut like packets, with an Ethernet header (and a
VLAN tag, perhaps) that is the same before each.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chancel.daemon.hot.checksum import checksum, finish, sums, word
from chancel.daemon.hot.filling import Filling
from chancel.daemon.hot.views import Bytes, SlotView

if TYPE_CHECKING:
    import numpy.typing as npt

VNET = struct.Struct("=BBHHHH")
NEEDS_CHECKSUM = 1
GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP = 0, 1, 4, 5
GSO_ECN = 0x80

MAX_INNER_BYTES = 1472
"""The largest inner packet that fits the wire: 1522 less header, tail and tag."""

ETHERNET_BYTES = 14
_VLAN_TAG_BYTES = 4
_VLAN = b"\x81\x00"
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}

_IP4_HEADER = 20
_IP6_HEADER = 40
_TCP_HEADER = 20
_UDP_HEADER = 8
_FIN_PSH = 0x09
_CWR = 0x80
_IDENTITY = struct.Struct("!4xH")
_SEQUENCE = struct.Struct("!4xI")
_NUMBERS = 65_536


@cache
def _numbers() -> npt.NDArray[np.uint32]:
    """From 0 on, as many as two bytes count."""
    return np.arange(_NUMBERS, dtype=np.uint32)


class Train(NamedTuple):
    """A big packet of the kernel's: ``packets`` payloads of ``segment`` bytes, last of ``rest``.

    ``ip`` is where the IP header begins, ``start`` the transport header, ``head`` the payload.
    """

    tcp: bool
    version: int
    ip: int
    start: int
    head: int
    segment: int
    packets: int
    rest: int
    flags: int

    @property
    def bytes(self) -> int:
        """What the packets have together, headers included."""
        return self.packets * self.head + (self.packets - 1) * self.segment + self.rest


def train_of(
    packet: memoryview, size: int, kind: int, segment: int, start: int, *, ethernet: bool
) -> Train | None:
    """What the vnet header says, checked against the packet; ``None`` if it can't be.

    ``kind`` comes without :data:`GSO_ECN`; ``start`` counts from the packet's first byte.
    """
    tcp = kind in (GSO_TCP4, GSO_TCP6)
    ip = _ip_offset(packet) if ethernet else 0
    version, header = packet[ip] >> 4, start - ip
    if not (
        (tcp or kind == GSO_UDP)
        and segment > 0
        and (
            (version == 4 and header == (packet[ip] & 0x0F) * 4 and header >= _IP4_HEADER)
            or (version == 6 and header >= _IP6_HEADER and header % 8 == 0)
        )
        and (ip == 0 or packet[ip - 2 : ip] == _TYPES[version])
    ):
        return None
    header = (packet[start + 12] >> 4) * 4 if tcp else _UDP_HEADER
    head = start + header
    if (tcp and header < _TCP_HEADER) or head >= size or head + segment > MAX_INNER_BYTES:
        return None
    count = -(-(size - head) // segment)
    rest = size - head - (count - 1) * segment
    segment = segment if count > 1 else rest
    return Train(tcp, version, ip, start, head, segment, count, rest, packet[start + 13])


def _ip_offset(frame: memoryview) -> int:
    """Where the IP header begins, if there is one in this Ethernet frame."""
    return ETHERNET_BYTES + (_VLAN_TAG_BYTES if frame[12:14] == _VLAN else 0)


def cut(packet: Bytes, filling: Filling, tunnel: int, train: Train) -> Train | None:
    """Cut as much of a train as the slot has room for; returns the rest of it, if there is one.

    The big packet is changed: its headers, and what is left of its payload.
    """
    count = min(train.packets, filling.room(train.head + train.segment))
    if count == train.packets:
        _cut_whole(packet, filling, tunnel, train)
        return None
    first = train._replace(packets=count, rest=train.segment, flags=train.flags & ~_FIN_PSH)
    _cut_whole(packet, filling, tunnel, first)
    return _without(packet.data, train, count)


def _without(packet: memoryview, train: Train, count: int) -> Train:
    """Move the big packet on: what is left of the train after ``count`` packets."""
    head = train.head
    packets, done = train.packets - count, count * train.segment
    left = (packets - 1) * train.segment + train.rest
    packet[head : head + left] = packet[head + done : head + done + left]
    if train.version == 4:
        (identity,) = struct.unpack_from("!H", packet, train.ip + 4)
        struct.pack_into("!H", packet, train.ip + 4, (identity + count) & 0xFFFF)
    if train.tcp:
        (sequence,) = struct.unpack_from("!I", packet, train.start + 4)
        struct.pack_into("!I", packet, train.start + 4, (sequence + done) & 0xFFFF_FFFF)
    segment = train.segment if packets > 1 else train.rest
    return train._replace(packets=packets, segment=segment, flags=train.flags & ~_CWR)


def _cut_whole(packet: Bytes, filling: Filling, tunnel: int, train: Train) -> None:
    """Write a train's packets into the slot, each with its tail of two zero bytes.

    All packets get the headers of a middle one; what the first and the last have of their own is
    put right afterwards, and only what differs in each is a vector.
    """
    count, head, segment = train.packets, train.head, train.segment
    last = head + train.rest + 2
    stride = head + segment + 2 if count > 1 else last
    at = filling.train(tunnel, count, stride, last)
    slot = filling.slot
    rows = slot.rows(at, stride, count)
    equal = count if train.rest == segment else count - 1
    whole = equal * segment
    rows[:equal, head:-2] = packet[head : head + whole].reshape(equal, segment)
    slot.column("=u2", at + stride - 2, stride, equal)[:] = 0
    if equal < count:
        start = at + equal * stride + head
        stop = start + train.rest
        slot.memory[start:stop] = packet.data[head + whole : head + whole + train.rest]
        slot.memory[stop : stop + stride - last + 2] = bytes(stride - last + 2)
    _make_middle(packet.data, train)
    rows[:, :head] = packet[:head]
    _mark_ends(slot.memory[at:], stride, train)
    if train.version == 4:
        _ip4_vectors(slot, at, stride, train)
    if train.tcp:
        (first,) = _SEQUENCE.unpack_from(packet.data, train.start)
        numbers = slot.column(">u4", at + train.start + 4, stride, count)
        numbers[:] = _numbers()[:count] * np.uint32(segment) + np.uint32(first)
    _transport_checksums(slot, at, rows, train)


def _make_middle(packet: memoryview, train: Train) -> None:
    """Turn the big packet's headers into those of a packet in the middle, checksums zero."""
    start = train.start
    _set_lengths(packet, train, train.head + train.segment)
    if train.version == 4:
        packet[train.ip + 10 : train.ip + 12] = b"\0\0"
    if train.tcp:
        packet[start + 13] &= 0xFF ^ (_FIN_PSH | _CWR)
        packet[start + 16 : start + 18] = b"\0\0"
    else:
        packet[start + 6 : start + 8] = b"\0\0"


def _mark_ends(memory: memoryview, stride: int, train: Train) -> None:
    """FIN and PSH belong to the last packet, CWR to the first; the last may be shorter."""
    last = memory[(train.packets - 1) * stride :]
    _set_lengths(last, train, train.head + train.rest)
    if train.tcp:
        memory[train.start + 13] |= train.flags & _CWR
        last[train.start + 13] |= train.flags & _FIN_PSH


def _set_lengths(packet: memoryview, train: Train, size: int) -> None:
    if train.version == 4:
        struct.pack_into("!H", packet, train.ip + 2, size - train.ip)
    else:
        struct.pack_into("!H", packet, train.ip + 4, size - train.ip - _IP6_HEADER)
    if not train.tcp:
        struct.pack_into("!H", packet, train.start + 4, size - train.start)


def _ip4_vectors(slot: SlotView, at: int, stride: int, train: Train) -> None:
    """Identifications count up, and with them the header checksums."""
    ip = at + train.ip
    (first,), header = _IDENTITY.unpack_from(slot.memory, ip), slot.memory[ip : at + train.start]
    numbers = _numbers()[first : first + train.packets]
    if first + train.packets > _NUMBERS:
        numbers = (_numbers()[: train.packets] + np.uint32(first)) & np.uint32(0xFFFF)
    total = numbers + np.uint32(65535 - checksum(header) + 65535 - first)
    if train.rest != train.segment:
        total[-1] += np.uint32(65535 + train.rest - train.segment)
    slot.column(">u2", ip + 4, stride, train.packets)[:] = numbers
    slot.column(">u2", ip + 10, stride, train.packets)[:] = finish(total)


def _transport_checksums(slot: SlotView, at: int, rows: Bytes, train: Train) -> None:
    start, stride = train.start, rows.shape[1]
    ip = at + train.ip
    addresses = (
        slot.memory[ip + 12 : ip + 20] if train.version == 4 else slot.memory[ip + 8 : ip + 40]
    )
    length = train.head - start + train.segment
    pseudo = checksum(addresses, (6 if train.tcp else 17) + length)
    stop = stride - 2 + (stride - start) % 2
    total = sums(rows[:, start:stop]) + np.uint32(word(65535 - pseudo))
    if train.rest != train.segment:
        total[-1] += np.uint32(word((train.rest - train.segment) % 65535))
    values = finish(total)
    if not train.tcp:
        values[values == 0] = 0xFFFF
    field = at + start + (16 if train.tcp else 6)
    slot.column("=u2", field, stride, train.packets)[:] = values
