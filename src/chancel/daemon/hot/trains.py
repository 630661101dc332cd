"""Recognising trains: packets that the kernel would cut in the same way from one big packet.

Where any doubt is left there is no train: the packets are then written one by one, which is always
right. Checksums are verified here, since a joined packet gets new ones.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chancel.daemon.hot.checksum import Words, right, sums, word
from chancel.daemon.hot.cut import GSO_TCP4, GSO_UDP
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.wire.traffic import TAIL_BYTES

IP4_HEADER = 20
TCP_FLAGS = 33
"""Where the flags stand, behind an IPv4 header without options."""

_TCP, _UDP = 6, 17
_TCP_HEAD, _UDP_HEAD = 40, 28
_DONT_FRAGMENT = 0x40
_PSH = 0x08
_ACK = 0x10

Flags = npt.NDArray[np.bool_]
"""One truth for each packet of a run."""


def _same_but(size: int, *fields: tuple[int, int]) -> Bytes:
    """A mask over headers of ``size`` bytes: all ones but in the fields (start, stop)."""
    mask = np.full(size, 0xFF, dtype=np.uint8)
    for start, stop in fields:
        mask[start:stop] = 0
    return mask


_TCP_SAME = _same_but(80, (2, 6), (10, 12), (24, 28), (TCP_FLAGS, 34), (36, 38))
_UDP_SAME = _same_but(28, (2, 6), (10, 12), (24, 28))
"""What must be equal in packets to be joined: not length and id, checksums, sequence numbers."""

_TCP_KIND = ~_same_but(80, (0, 1), (6, 8), (9, 10), (32, 33))
_UDP_KIND = ~_same_but(28, (0, 1), (6, 8), (9, 10))
"""What makes a packet one of the kind that the first of its run is: version and header size,
fragmentation, protocol, size of the TCP header."""


class Train(NamedTuple):
    """Packets that the kernel would cut the same way: ``segment`` payload bytes after ``head``.

    ``kind`` is the ``GSO_…`` type of the virtio header.
    """

    kind: int
    head: int
    segment: int
    packets: int


def recognise(slot: SlotView, run: Run, kinds: Collection[int]) -> Train | None:
    """What the packets of a run can be joined to, going by the first; ``None`` for nothing."""
    first = slot.memory[run.offset : run.offset + run.size - TAIL_BYTES]
    if len(first) < _UDP_HEAD or first[0] != 0x45 or first[6] & ~_DONT_FRAGMENT or first[7]:
        return None
    if first[9] == _TCP and GSO_TCP4 in kinds and len(first) > _TCP_HEAD:
        head, least = IP4_HEADER + (first[32] >> 4) * 4, _TCP_HEAD
        train = Train(GSO_TCP4, head, len(first) - head, run.packets)
    elif first[9] == _UDP and GSO_UDP in kinds:
        head, least = _UDP_HEAD, _UDP_HEAD
        train = Train(GSO_UDP, head, len(first) - head, run.packets)
    else:
        return None
    return train if least <= head < run.last - TAIL_BYTES else None


def joints(slot: SlotView, run: Run, train: Train) -> Flags:
    """For each packet: may it be joined to the one before it?

    Only where the kernel would cut the two, joined, into the very same packets, and both are
    intact. The first of the run has none before it.
    """
    rows = _rows(slot, run)
    heads = rows[:, : train.head].copy()
    lengths = np.full(run.packets, run.size - TAIL_BYTES, dtype=np.uint32)
    lengths[-1] = run.last - TAIL_BYTES
    tcp = train.kind == GSO_TCP4
    sound = _checksums_right(rows, heads, run.last - run.size)
    sound &= heads.view(">u2")[:, 1] == lengths
    sound &= _sound_tcp(heads) if tcp else _sound_udp(heads, lengths)
    differences = (heads[1:] ^ heads[:-1]) & (_TCP_SAME[: train.head] if tcp else _UDP_SAME)
    joined = np.zeros(run.packets, dtype=np.bool_)
    joined[1:] = sound[1:] & sound[:-1] & _ids_follow(heads)
    if np.count_nonzero(differences):
        joined[1:] &= _equal(differences)
        joined &= _equal((heads ^ heads[0]) & (_TCP_KIND[: train.head] if tcp else _UDP_KIND))
    if tcp:
        numbers = heads[:, 24:28].view(">u4")[:, 0].astype(np.uint32)
        joined[1:] &= numbers[1:] - numbers[:-1] == train.segment
        joined[1:] &= heads[:-1, TCP_FLAGS] == _ACK
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


def _ids_follow(heads: Bytes) -> Flags:
    """Identifications count up, or don't matter since nobody may fragment."""
    ids = heads[:, 4:6].view(">u2")[:, 0].astype(np.uint16)
    follow: Flags = (ids[1:] - ids[:-1] == 1) | (heads[1:, 6] & _DONT_FRAGMENT != 0)
    return follow


def _sound_tcp(heads: Bytes) -> Flags:
    """Nothing but ACK set, and PSH perhaps."""
    sound: Flags = heads[:, TCP_FLAGS] | _PSH == _ACK | _PSH
    return sound


def _sound_udp(heads: Bytes, lengths: Words) -> Flags:
    """A true length, and a checksum (the kernel will make one for each)."""
    words = heads[:, 24:28].view(">u2")
    sound: Flags = (words[:, 0] == lengths - IP4_HEADER) & (words[:, 1] != 0)
    return sound


def _checksums_right(rows: Bytes, heads: Bytes, last_longer: int) -> Flags:
    """Whether IP and transport checksums hold, for each packet; all but the last have one length.

    Behind an odd packet the first tail byte, which is zero, completes the last word.
    """
    size = rows.shape[1] - TAIL_BYTES
    total = sums(rows[:, IP4_HEADER : size + (size - IP4_HEADER) % 2])
    total += sums(heads[:, 12:20])
    total += np.uint32(word(int(heads[0, 9])) + word(size - IP4_HEADER))
    total[-1] += np.uint32(word(last_longer % 65535))
    return right(total) & right(sums(heads[:, :IP4_HEADER]))
