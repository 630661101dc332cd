"""Recognising trains: packets that the kernel would cut in the same way from one big packet.

Where any doubt is left there is no train: the packets are then written one by one, which is always
right. Checksums are verified here, since a joined packet gets new ones.

IPv4 and IPv6 differ in where things stand and in what must be looked at; a :class:`Layout` says so
for each kind of packet, with an Ethernet header before it or without. What bears options, extension
headers or a VLAN tag has no layout, and is never joined.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chancel.daemon.hot.checksum import Words, right, sums, word
from chancel.daemon.hot.cut import ETHERNET_BYTES, GSO_TCP4, GSO_TCP6, GSO_UDP
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.wire.traffic import TAIL_BYTES

_IP4_HEADER, _IP6_HEADER = 20, 40
_TCP, _UDP = 6, 17
_TCP_HEADER, _TCP_HEADER_MOST, _UDP_HEADER = 20, 60, 8
_DONT_FRAGMENT = 0x40
_PSH = 0x08
_ACK = 0x10

Flags = npt.NDArray[np.bool_]
"""One truth for each packet of a run."""


class Layout(NamedTuple):
    """Where the headers of one kind of packet stand, counted from the start of the frame.

    ``kind`` is the ``GSO_…`` type of the virtio header. ``ip``, ``start``: where the IP header and
    the transport header begin. ``addresses`` ends at ``start``. The field at ``length`` counts the
    bytes from ``counted`` on. ``checksum`` is the transport's, ``flags`` are those of TCP.
    """

    kind: int
    version: int
    tcp: bool
    protocol: int
    ip: int
    start: int
    addresses: int
    checksum: int
    flags: int
    length: int
    counted: int
    same: Bytes
    """Mask of what must be equal in packets to be joined: not lengths and checksums, for example.
    """
    alike: Bytes
    """Mask of what makes a packet one of this kind: version, fragmentation, header sizes, ..."""


def _mask(size: int, *fields: tuple[int, int]) -> Bytes:
    """A mask over headers of ``size`` bytes: ones in the fields (start, stop)."""
    mask = np.zeros(size, dtype=np.uint8)
    for start, stop in fields:
        mask[start:stop] = 0xFF
    return mask


def _layout(ip: int, version: int, protocol: int) -> Layout:
    tcp = protocol == _TCP
    start = ip + (_IP4_HEADER if version == 4 else _IP6_HEADER)
    size = start + (_TCP_HEADER_MOST if tcp else _UDP_HEADER)
    changing = [(start + 4, start + 8)]  # a sequence number; UDP's length and checksum
    if tcp:
        changing += [(start + 13, start + 14), (start + 16, start + 18)]
    if version == 4:
        changing += [(ip + 2, ip + 6), (ip + 10, ip + 12)]
        kind = [(ip, ip + 1), (ip + 6, ip + 8), (ip + 9, ip + 10)]
    else:
        changing += [(ip + 4, ip + 6)]
        kind = [(ip, ip + 1), (ip + 6, ip + 7)]
    if ip:
        kind += [(ip - 2, ip)]
    if tcp:
        kind += [(start + 12, start + 13)]
    alike = _mask(size, *kind)
    if version == 6:
        alike[ip] = 0xF0  # the rest of the byte is the traffic class
    return Layout(
        kind=(GSO_TCP4 if version == 4 else GSO_TCP6) if tcp else GSO_UDP,
        version=version,
        tcp=tcp,
        protocol=protocol,
        ip=ip,
        start=start,
        addresses=ip + (12 if version == 4 else 8),
        checksum=start + (16 if tcp else 6),
        flags=start + 13,
        length=ip + (2 if version == 4 else 4),
        counted=ip if version == 4 else start,
        same=~_mask(size, *changing),
        alike=alike,
    )


_LAYOUTS = {
    (ip, version, protocol): _layout(ip, version, protocol)
    for ip in (0, ETHERNET_BYTES)
    for version in (4, 6)
    for protocol in (_TCP, _UDP)
}
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


class Train(NamedTuple):
    """Packets that the kernel would cut the same way: ``segment`` payload bytes after ``head``."""

    layout: Layout
    head: int
    segment: int
    packets: int


def recognise(slot: SlotView, run: Run, kinds: Collection[int], ip: int = 0) -> Train | None:
    """What the packets of a run can be joined to, going by the first; ``None`` for nothing.

    ``kinds`` are ``GSO_…`` types. ``ip``: bytes of Ethernet header before the IP header, or 0.
    """
    first = slot.memory[run.offset : run.offset + run.size - TAIL_BYTES]
    layout = _layout_of(first, ip)
    if layout is None or layout.kind not in kinds:
        return None
    least = head = layout.start + _UDP_HEADER
    if layout.tcp:
        least = layout.start + _TCP_HEADER
        if len(first) <= least:
            return None
        head = layout.start + (first[layout.start + 12] >> 4) * 4
    if not least <= head < run.last - TAIL_BYTES:
        return None
    return Train(layout, head, len(first) - head, run.packets)


def _layout_of(first: memoryview, ip: int) -> Layout | None:
    if len(first) < ip + _IP4_HEADER + _UDP_HEADER:
        return None
    version = first[ip] >> 4
    if version == 4:
        if first[ip] != 0x45 or first[ip + 6] & ~_DONT_FRAGMENT or first[ip + 7]:
            return None
        protocol = first[ip + 9]
    elif version == 6 and len(first) >= ip + _IP6_HEADER + _UDP_HEADER:
        protocol = first[ip + 6]
    else:
        return None
    if ip and first[ip - 2 : ip] != _TYPES[version]:
        return None
    return _LAYOUTS.get((ip, version, protocol))


def joints(slot: SlotView, run: Run, train: Train) -> Flags:
    """For each packet: may it be joined to the one before it?

    Only where the kernel would cut the two, joined, into the very same packets, and both are
    intact. The first of the run has none before it.
    """
    layout = train.layout
    rows = _rows(slot, run)
    heads = rows[:, : train.head].copy()
    lengths = np.full(run.packets, run.size - TAIL_BYTES, dtype=np.uint32)
    lengths[-1] = run.last - TAIL_BYTES
    sound = _checksums_right(rows, heads, run.last - run.size, layout)
    words = heads.view(">u2")
    sound &= words[:, layout.length // 2] == lengths - layout.counted
    sound &= _sound_tcp(heads, layout) if layout.tcp else _sound_udp(heads, lengths, layout)
    differences = (heads[1:] ^ heads[:-1]) & layout.same[: train.head]
    joined = np.zeros(run.packets, dtype=np.bool_)
    joined[1:] = sound[1:] & sound[:-1]
    if layout.version == 4:
        ids = words[:, layout.ip // 2 + 2].astype(np.uint16)
        joined[1:] &= _ids_follow(heads[1:, layout.ip + 6], ids)
    if np.count_nonzero(differences):
        joined[1:] &= _equal(differences)
        joined &= _equal((heads ^ heads[0]) & layout.alike[: train.head])
    if layout.tcp:
        start = layout.start
        numbers = heads[:, start + 4 : start + 8].view(">u4")[:, 0].astype(np.uint32)
        joined[1:] &= numbers[1:] - numbers[:-1] == train.segment
        joined[1:] &= heads[:-1, layout.flags] == _ACK
    return joined


def _rows(slot: SlotView, run: Run) -> Bytes:
    """The run as rows; with a short last packet a copy in which it is padded with zeros."""
    if run.last == run.size:
        return slot.rows(run.offset, run.size, run.packets)
    rows = np.zeros((run.packets, run.size), dtype=np.uint8)
    rows[:-1] = slot.rows(run.offset, run.size, run.packets - 1)
    rows[-1, : run.last] = slot.array[run.end - run.last : run.end]
    return rows


def _equal(differences: Bytes) -> Flags:
    """Which rows have no difference in them."""
    equal: Flags = np.bitwise_or.reduce(differences, axis=1) == 0
    return equal


def _ids_follow(fragmentation: Bytes, ids: npt.NDArray[np.uint16]) -> Flags:
    """Identifications count up, or don't matter since nobody may fragment."""
    follow: Flags = (ids[1:] - ids[:-1] == 1) | (fragmentation & _DONT_FRAGMENT != 0)
    return follow


def _sound_tcp(heads: Bytes, layout: Layout) -> Flags:
    """Nothing but ACK set, and PSH perhaps."""
    sound: Flags = heads[:, layout.flags] | _PSH == _ACK | _PSH
    return sound


def _sound_udp(heads: Bytes, lengths: Words, layout: Layout) -> Flags:
    """A true length, and a checksum (the kernel will make one for each)."""
    words = heads[:, layout.start + 4 : layout.start + 8].view(">u2")
    sound: Flags = (words[:, 0] == lengths - layout.start) & (words[:, 1] != 0)
    return sound


def _checksums_right(rows: Bytes, heads: Bytes, last_longer: int, layout: Layout) -> Flags:
    """Whether the checksums hold, for each packet; all but the last have one length.

    Behind an odd packet the first tail byte, which is zero, completes the last word.
    """
    start = layout.start
    size = rows.shape[1] - TAIL_BYTES
    total = sums(rows[:, start : size + (size - start) % 2])
    total += sums(heads[:, layout.addresses : start])
    total += np.uint32(word(layout.protocol) + word(size - start))
    total[-1] += np.uint32(word(last_longer % 65535))
    if layout.version == 4:
        return right(total) & right(sums(heads[:, layout.ip : start]))
    return right(total)
