"""Recognising trains: packets that the kernel would cut in the same way from one big packet.

Where any doubt is left there is no train: the packets are then written one by one, which is always
right. Checksums are verified here, since a joined packet gets new ones.

IPv4 and IPv6 differ in where things stand and in what must be looked at; a :class:`Layout` says so
for each kind of packet, with an Ethernet header before it or without. What bears options, extension
headers or a VLAN tag has no layout, and is never joined.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chancel.daemon.hot.checksum import checksum, right, sums, word
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
_EITHER = bytes((_ACK, _ACK | _PSH))

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
    same_bits: int
    """The same as a number."""
    steady: Bytes
    """Mask of what is equal in packets of one size and flow. Flags aren't, they end a train."""
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
    same = ~_mask(size, *changing)
    steady = same.copy()
    steady[ip + 2 : ip + 4] = 0xFF  # the length, in IPv4
    steady[ip + 4 : ip + 6] = 0 if version == 4 else 0xFF  # the length, in IPv6
    if not tcp:
        steady[start + 4 : start + 6] = 0xFF
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
        same=same,
        same_bits=int.from_bytes(same.tobytes()),
        steady=steady,
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


def seams(slot: SlotView, run: Run, train: Train) -> list[int] | None:
    """Where trains begin in a run of one flow's packets, in order and intact; ``None`` for others.

    Bulk traffic is like this; what isn't is looked at packet by packet (:func:`joints`).
    """
    layout, size = train.layout, run.size
    equal = run.packets if run.last == size else run.packets - 1
    first = slot.memory[run.offset : run.offset + size]
    rows = slot.rows(run.offset, size, equal)
    if not (
        _lengths_right(first, size - TAIL_BYTES, layout)
        and _heads_follow(slot, run, train, rows)
        and _transports_right(rows, layout)
        and (equal == run.packets or _last_follows(slot, run, train))
    ):
        return None
    if not layout.tcp:
        return [0]
    at = run.offset + layout.flags
    flags = slot.memory[at : run.end : size].tobytes()
    if flags.strip(_EITHER):
        return None
    return [0, *(i for i in range(1, run.packets) if flags[i - 1] & _PSH)]


def _heads_follow(slot: SlotView, run: Run, train: Train, rows: Bytes) -> bool:
    """Whether packets of one size have the headers of one flow, flags aside."""
    layout, head, count = train.layout, train.head, len(rows)
    ip, start = run.offset + layout.ip, run.offset + layout.start
    if np.count_nonzero((rows[:, :head] ^ rows[0, :head]) & layout.steady[:head]):
        return False
    if layout.version == 4:
        if not slot.memory[ip + 6] & _DONT_FRAGMENT and not _in_steps(
            slot.column(">u2", ip + 4, run.size, count), np.uint16, 1
        ):
            return False
        if np.count_nonzero(sums(rows[:, layout.ip : layout.start]) % 65535):
            return False
    if layout.tcp:
        numbers = slot.column(">u4", start + 4, run.size, count)
        return _in_steps(numbers, np.uint32, train.segment)
    checksums = slot.column("=u2", start + 6, run.size, count)
    return bool(np.count_nonzero(checksums) == count)


def _in_steps(numbers: npt.NDArray[Any], kind: type[np.unsignedinteger], step: int) -> bool:
    """Whether each number of the headers is the one before it and ``step``, wrapped around."""
    own = numbers.astype(kind)  # in the machine's byte order
    return not np.count_nonzero(own[1:] - own[:-1] != step)


def _transports_right(rows: Bytes, layout: Layout) -> bool:
    """Whether the transport's checksums hold, for packets of one size and between two addresses."""
    start = layout.start
    size = rows.shape[1] - TAIL_BYTES
    total = sums(rows[:, start : size + (size - start) % 2])
    addresses = rows[0, layout.addresses : start].tobytes()
    pseudo = 65535 - checksum(addresses, layout.protocol + size - start)
    return not np.count_nonzero((total + np.uint32(word(pseudo))) % 65535)


def _lengths_right(packet: memoryview, size: int, layout: Layout) -> bool:
    """Whether a packet of ``size`` bytes says so."""
    return _be16(packet, layout.length) == size - layout.counted and (
        layout.tcp or _be16(packet, layout.start + 4) == size - layout.start
    )


def _intact(packet: memoryview, size: int, layout: Layout) -> bool:
    """Whether the checksums of a packet of ``size`` bytes hold; its tail is behind it."""
    start = layout.start
    if not (layout.tcp or _be16(packet, layout.checksum)):
        return False
    addresses = packet[layout.addresses : start]
    pseudo = 65535 - checksum(addresses, layout.protocol + size - start)
    whole = checksum(packet[start : size + (size - start) % 2], pseudo) == 0
    return whole and (layout.version == 6 or checksum(packet[layout.ip : start]) == 0)


def _last_follows(slot: SlotView, run: Run, train: Train) -> bool:
    """Whether the last, shorter packet is intact, and of the flow of the one before it."""
    layout, memory, at = train.layout, slot.memory, run.end - run.last
    before, last, size = memory[at - run.size : at], memory[at : run.end], run.last - TAIL_BYTES
    if not (_lengths_right(last, size, layout) and _intact(last, size, layout)):
        return False
    different = int.from_bytes(before[: train.head]) ^ int.from_bytes(last[: train.head])
    if different & layout.same_bits >> 8 * (len(layout.same) - train.head):
        return False
    if layout.version == 4 and not last[layout.ip + 6] & _DONT_FRAGMENT:
        step = _be16(last, layout.ip + 4) - _be16(before, layout.ip + 4)
        if step & 0xFFFF != 1:
            return False
    at = layout.start + 4
    step = int.from_bytes(last[at : at + 4]) - int.from_bytes(before[at : at + 4])
    return not layout.tcp or step & 0xFFFF_FFFF == train.segment


def _be16(packet: memoryview, at: int) -> int:
    return packet[at] << 8 | packet[at + 1]


def joints(slot: SlotView, run: Run, train: Train) -> Flags:
    """For each packet: may it be joined to the one before it?

    Only where the kernel would cut the two, joined, into the very same packets, and both are
    intact. The first of the run has none before it.
    """
    layout, head = train.layout, train.head
    equal = run.packets if run.last == run.size else run.packets - 1
    rows = slot.rows(run.offset, run.size, equal)
    heads = rows[:, :head].copy()
    sound = _sound(rows, heads, layout)
    alike = _equal((heads ^ heads[0]) & layout.alike[:head])
    joined = np.zeros(run.packets, dtype=np.bool_)
    joined[1:equal] = sound[1:] & sound[:-1] & alike[1:]
    joined[1:equal] &= _equal((heads[1:] ^ heads[:-1]) & layout.same[:head])
    if layout.version == 4:
        ids = heads[:, layout.ip + 4 : layout.ip + 6].view(">u2")[:, 0].astype(np.uint16)
        joined[1:equal] &= _ids_follow(heads[1:, layout.ip + 6], ids)
    if layout.tcp:
        start = layout.start
        numbers = heads[:, start + 4 : start + 8].view(">u4")[:, 0].astype(np.uint32)
        joined[1:equal] &= numbers[1:] - numbers[:-1] == train.segment
        joined[1:equal] &= heads[:-1, layout.flags] == _ACK
    if equal < run.packets:
        flags = slot.memory[run.end - run.last + layout.flags]
        open_ended = not layout.tcp or (
            heads[-1, layout.flags] == _ACK and flags | _PSH == _ACK | _PSH
        )
        joined[-1] = open_ended and sound[-1] and alike[-1] and _last_follows(slot, run, train)
    return joined


def _sound(rows: Bytes, heads: Bytes, layout: Layout) -> Flags:
    """Which packets of one size are intact, say their true length, and can be joined at all."""
    start = layout.start
    size = rows.shape[1] - TAIL_BYTES
    # Behind an odd packet the first tail byte, which is zero, completes the last word.
    total = sums(rows[:, start : size + (size - start) % 2])
    total += sums(heads[:, layout.addresses : start])
    total += np.uint32(word(layout.protocol) + word(size - start))
    words = heads.view(">u2")
    sound: Flags = right(total) & (words[:, layout.length // 2] == size - layout.counted)
    if layout.version == 4:
        sound &= right(sums(heads[:, layout.ip : start]))
    if layout.tcp:
        sound &= heads[:, layout.flags] | _PSH == _ACK | _PSH
    else:
        sound &= words[:, start // 2 + 2] == size - start
        sound &= words[:, start // 2 + 3] != 0  # the kernel will make a checksum for each
    return sound


def _equal(differences: Bytes) -> Flags:
    """Which rows have no difference in them."""
    equal: Flags = np.bitwise_or.reduce(differences, axis=1) == 0
    return equal


def _ids_follow(fragmentation: Bytes, ids: npt.NDArray[np.uint16]) -> Flags:
    """Identifications count up, or don't matter since nobody may fragment."""
    follow: Flags = (ids[1:] - ids[:-1] == 1) | (fragmentation & _DONT_FRAGMENT != 0)
    return follow
