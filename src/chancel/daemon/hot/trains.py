"""Recognising trains: packets that the kernel would cut in the same way from one big packet.

Where any doubt is left there is no train: the packets are then written one by one, which is always
right. Checksums are verified here, since a joined packet gets new ones.

IPv4 and IPv6 differ in where things stand and in what must be looked at; a :class:`Layout` says so
for each kind of packet, with an Ethernet header before it or without. What bears options, extension
headers or a VLAN tag has no layout, and is never joined.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from chancel.daemon.hot.checksum import checksum, right, sums, word
from chancel.daemon.hot.cut import ETHERNET_BYTES, GSO_TCP4, GSO_TCP6, GSO_UDP
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.wire.traffic import TAIL_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

_IP4_HEADER, _IP6_HEADER = 20, 40
_TCP, _UDP = 6, 17
_TCP_HEADER, _TCP_HEADER_MOST, _UDP_HEADER = 20, 60, 8
_DONT_FRAGMENT = 0x40
_PSH = 0x08
_ACK = 0x10
_PUSHED = _ACK | _PSH
_EITHER = bytes((_ACK, _PUSHED))

Flags: TypeAlias = "npt.NDArray[np.bool_]"
"""One truth for each packet of a run."""

_BYTE, _WORD, _FOUR_WORDS = "u1", "=u2", "=u8"
_SEQUENCE, _IDENTITY = ">u4", ">u2"
_new = tuple.__new__  # Train._make, without its Python


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
    """Mask of what is equal in the packets of a train but the last: also their lengths. Flags may
    differ, they end it."""
    alike: Bytes
    """Mask of what makes a packet one of this kind: version, fragmentation, header sizes, ..."""
    kin: Bytes
    """Mask of what is equal in packets of one size, kind, and pair of addresses: what one look at
    the first may judge for all."""
    kin_bits: int
    """The same of what is before the transport header, but for the length; as a number."""


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
    addresses = ip + (12 if version == 4 else 8)
    kin = alike | (steady & ~same) | _mask(size, (addresses, start))
    return Layout(
        kind=(GSO_TCP4 if version == 4 else GSO_TCP6) if tcp else GSO_UDP,
        version=version,
        tcp=tcp,
        protocol=protocol,
        ip=ip,
        start=start,
        addresses=addresses,
        checksum=start + (16 if tcp else 6),
        flags=start + 13,
        length=ip + (2 if version == 4 else 4),
        counted=ip if version == 4 else start,
        same=same,
        same_bits=int.from_bytes(same.tobytes()),
        steady=steady,
        alike=alike,
        kin=kin,
        kin_bits=int.from_bytes((kin & same)[:start].tobytes()),
    )


@cache
def _layouts() -> dict[tuple[int, int, int], Layout]:
    return {
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
    segment = run.size - TAIL_BYTES - head
    if head < least or segment <= 0:
        return None
    return _new(Train, (layout, head, segment))


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
    return _layouts().get((ip, version, protocol))


def seams(slot: SlotView, run: Run, train: Train) -> list[int] | None:
    """Where trains begin in a run of packets between two addresses, all of them intact; ``None``
    for others.

    Bulk traffic is like this: trains of some flows, and of one whose options or acknowledgement
    have changed. What isn't is looked at packet by packet (:func:`joints`).
    """
    layout, memory = train.layout, slot.memory
    _, _, count, size, last, offset, _ = run
    equal = count if last == size else count - 1
    first = memory[offset : offset + size - TAIL_BYTES]
    if not _lengths_right(first, len(first), layout):
        return None
    ends = _ends(memory, offset, size, equal, train)
    if ends is None or not _transports_right(memory, offset, size, equal, layout):
        return None
    joined = count
    if equal < count and not _last_follows(slot, run, train):
        if not _last_is_kin(slot, run, layout):
            return None
        ends.add(equal - 1)
        joined = equal
    if layout.tcp:
        at = offset + layout.flags
        flags = memory[at : at + (joined - 1) * size + 1 : size].tobytes()
        if flags.count(_ACK) != joined:
            if flags.strip(_EITHER):
                return None
            end = flags.find(_PUSHED)
            while 0 <= end < count - 1:
                ends.add(end)
                end = flags.find(_PUSHED, end + 1)
    return [0, *sorted([end + 1 for end in ends])]


def _ends(memory: memoryview, offset: int, size: int, count: int, train: Train) -> set[int] | None:
    """Which of ``count`` packets of one size have a next that doesn't go on from them, as headers
    but not flags tell; ``None`` if they aren't of one kind and two addresses, or a header is wrong.

    Arrays are made on the memory directly: each step costs more than what it does with headers.
    """
    layout, head, _ = train
    ip, start = offset + layout.ip, offset + layout.start
    ends: set[int] = set()
    shape, stride = (count - 1, head), (size, 1)
    changes = np.ndarray(shape, _BYTE, memory, offset, stride) ^ np.ndarray(
        shape, _BYTE, memory, offset + size, stride
    )
    changed = np.bitwise_or.reduce(changes, axis=0) & layout.steady[:head]
    places = changed.nonzero()[0].tolist()
    if places and (changed & layout.kin[:head]).any():
        return None
    for place in places:
        ends.update(changes[:, place].nonzero()[0].tolist())
    if layout.version == 4:
        if not memory[ip + 6] & _DONT_FRAGMENT:
            numbers = np.ndarray((count,), _IDENTITY, memory, ip + 4, (size,))
            ends.update(_out_of_step(numbers, np.uint16, 1))
        # Four words are one number, which is their sum modulo 65535. What the headers have besides
        # these is equal, but for the service; so if the first sums to nothing, equal sums do.
        rest = np.ndarray((count,), _FOUR_WORDS, memory, ip + 4, (size,)) % 65535
        if changed[layout.ip + 1]:
            rest = (rest + np.ndarray((count,), _WORD, memory, ip, (size,))) % 65535
        if checksum(memory[ip:start]) or (rest != rest[0]).any():
            return None
    if layout.tcp:
        numbers = np.ndarray((count,), _SEQUENCE, memory, start + 4, (size,))
        ends.update(_out_of_step(numbers, np.uint32, train.segment))
    elif not np.ndarray((count,), _WORD, memory, start + 6, (size,)).all():
        return None
    return ends


def _out_of_step(numbers: npt.NDArray[Any], kind: type[np.unsignedinteger], step: int) -> list[int]:
    """Where the next number of the headers isn't this one and ``step``, wrapped around."""
    own = numbers.astype(kind)  # in the machine's byte order
    found: list[int] = (own[1:] - own[:-1] != step).nonzero()[0].tolist()
    return found


def _transports_right(
    memory: memoryview, offset: int, size: int, count: int, layout: Layout
) -> bool:
    """Whether the transport's checksums hold, for packets of one size and between two addresses."""
    start, length = offset + layout.start, size - TAIL_BYTES - layout.start
    # Behind an odd packet the first tail byte, which is zero, completes the last word.
    words = np.ndarray((count, (length + 1) // 2), _WORD, memory, start, (size, 2))
    total = np.add.reduce(words, axis=1, dtype=np.uint32)
    addresses = memory[offset + layout.addresses : start]
    wanted = word(checksum(addresses, layout.protocol + length))
    return not (total % 65535 != wanted).any()


def _lengths_right(packet: memoryview, size: int, layout: Layout) -> bool:
    """Whether a packet of ``size`` bytes says so."""
    at = layout.length
    return packet[at] << 8 | packet[at + 1] == size - layout.counted and (
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
    layout, head, segment = train
    end = run.end
    memory, at, size = slot.memory, end - run.last, run.last - TAIL_BYTES
    before, last = memory[at - run.size : at], memory[at:end]
    if size <= head:
        return False
    if not (_lengths_right(last, size, layout) and _intact(last, size, layout)):
        return False
    different = int.from_bytes(before[:head]) ^ int.from_bytes(last[:head])
    if different & layout.same_bits >> 8 * (len(layout.same) - head):
        return False
    if layout.version == 4 and not last[layout.ip + 6] & _DONT_FRAGMENT:
        step = _be16(last, layout.ip + 4) - _be16(before, layout.ip + 4)
        if step & 0xFFFF != 1:
            return False
    at = layout.start + 4
    step = int.from_bytes(last[at : at + 4]) - int.from_bytes(before[at : at + 4])
    return not layout.tcp or step & 0xFFFF_FFFF == segment


def _last_is_kin(slot: SlotView, run: Run, layout: Layout) -> bool:
    """Whether the last, shorter packet is of the kind and the two addresses of the first."""
    memory, start, at = slot.memory, layout.start, run.end - run.last
    if run.last - TAIL_BYTES < start:
        return False
    first, last = memory[run.offset : run.offset + start], memory[at : at + start]
    return not (int.from_bytes(first) ^ int.from_bytes(last)) & layout.kin_bits


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
    if equal < run.packets and sound[-1] and alike[-1] and _last_follows(slot, run, train):
        flags = slot.memory[run.end - run.last + layout.flags]
        joined[-1] = not layout.tcp or (
            heads[-1, layout.flags] == _ACK and flags | _PSH == _ACK | _PSH
        )
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
