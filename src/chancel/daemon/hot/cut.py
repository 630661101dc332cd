"""Trains: what they are, and what may be cut (``cutting``).

With the kernel's offloads one read of the device yields up to 64 KiB of one TCP (or UDP) flow
behind a vnet header (``struct virtio_net_hdr`` of Linux).

A TAP device gives whole Ethernet frames. They are cut like packets, with an Ethernet header (and a
VLAN tag, perhaps) that is the same before each.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

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
IP6_HEADER = 40
_TCP_HEADER = 20
_UDP_HEADER = 8
FIN_PSH = 0x09
CWR = 0x80

_new = tuple.__new__  # Train._make, without its Python


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
            or (version == 6 and header >= IP6_HEADER and header % 8 == 0)
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
    flags = packet[start + 13]
    return _new(Train, (tcp, version, ip, start, head, segment, count, rest, flags))


def _ip_offset(frame: memoryview) -> int:
    """Where the IP header begins, if there is one in this Ethernet frame."""
    return ETHERNET_BYTES + (_VLAN_TAG_BYTES if frame[12:14] == _VLAN else 0)


def first_of(train: Train, count: int) -> Train:
    """The first ``count`` packets of a train, which has more."""
    return train._replace(packets=count, rest=train.segment, flags=train.flags & ~FIN_PSH)


def without(packet: memoryview, train: Train, count: int) -> Train:
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
    return train._replace(packets=packets, segment=segment, flags=train.flags & ~CWR)
