"""IP packets rewritten in place, as a NAT router (of IPv4) and a bad cable do it.

A *frame* is what :mod:`.interface` reads: virtio header, Ethernet, IP. Checksums are kept right
by differences (RFC 1624), so a train of many packets in one frame is rewritten at the price of one;
where the sender's kernel left the checksum to the device, the field holds the sum of the pseudo
header and only the addresses count. ICMP echoes are known by their identifier, which serves as
their port, as in RFC 5508. Fragments have no ports and ICMP errors quote another packet: neither
passes a NAT here.
"""

from __future__ import annotations

import random
import socket
import struct
from dataclasses import dataclass

from chancel.lab.interface import ETHERNET_OFFSET, IP_OFFSET
from chancel.wire.types import Address

ICMP, TCP, UDP = 1, 6, 17

_NEEDS_CHECKSUM = 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM
_IP6_HEADER, _IP6_HOP_LIMIT, _IP6_SOURCE, _IP6_DESTINATION = 40, 7, 8, 24
_IP_CHECKSUM, _IP_SOURCE, _IP_DESTINATION = 10, 12, 16
_CHECKSUM_OFFSET = {ICMP: 2, TCP: 16, UDP: 6}
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_ECHO_IDENTIFIER = 4


@dataclass(frozen=True, slots=True)
class Flow:
    """Who speaks to whom in one packet."""

    protocol: int
    source: Address
    destination: Address


def destination(frame: memoryview) -> bytes | None:
    """The bytes of the destination address, 4 or 16; None for what is no IP packet."""
    return _address(frame, _IP_DESTINATION, _IP6_DESTINATION)


def source(frame: memoryview) -> bytes | None:
    """The same of the source address."""
    return _address(frame, _IP_SOURCE, _IP6_SOURCE)


def _address(frame: memoryview, at: int, at6: int) -> bytes | None:
    ip = frame[IP_OFFSET:]
    if len(ip) >= 20 and ip[0] >> 4 == 4:
        return bytes(ip[at : at + 4])
    if len(ip) >= _IP6_HEADER and ip[0] >> 4 == 6:
        return bytes(ip[at6 : at6 + 16])
    return None


def flow_of(frame: memoryview) -> Flow | None:
    """The packet's flow; None where it has no ports (fragments, ICMP errors, other protocols)."""
    ip = frame[IP_OFFSET:]
    start = _transport(ip)
    if start is None:
        return None
    protocol = ip[9]
    if protocol == ICMP:
        kind, identifier = ip[start], struct.unpack_from(">H", ip, start + _ECHO_IDENTIFIER)[0]
        if kind not in (_ECHO_REPLY, _ECHO_REQUEST):
            return None
        ports = (identifier, 0) if kind == _ECHO_REQUEST else (0, identifier)
    else:
        ports = struct.unpack_from(">HH", ip, start)
    source, target = (
        socket.inet_ntoa(ip[offset : offset + 4]) for offset in (_IP_SOURCE, _IP_DESTINATION)
    )
    return Flow(protocol, Address(source, ports[0]), Address(target, ports[1]))


def _transport(ip: memoryview) -> int | None:
    """Where the transport header starts, if the packet has a whole one of a kind known here.

    Of IPv4, that is: nobody translates IPv6.
    """
    if ip[0] >> 4 != 4:
        return None
    start = (ip[0] & 0x0F) * 4
    offset = _CHECKSUM_OFFSET.get(ip[9])
    fragment = struct.unpack_from(">H", ip, 6)[0] & 0x3FFF  # more fragments, or not the first
    if offset is None or fragment or start < 20 or len(ip) < start + max(offset + 2, 8):
        return None
    return start


def set_source(frame: memoryview, address: Address) -> None:
    """Rewrite the source of a packet that has a flow."""
    _rewrite(frame, _IP_SOURCE, 0, address)


def set_destination(frame: memoryview, address: Address) -> None:
    """Rewrite the destination of a packet that has a flow."""
    _rewrite(frame, _IP_DESTINATION, 2, address)


def _rewrite(frame: memoryview, ip_field: int, port_field: int, address: Address) -> None:
    ip = frame[IP_OFFSET:]
    protocol, start = ip[9], (ip[0] & 0x0F) * 4
    if protocol == ICMP:
        port_field = _ECHO_IDENTIFIER
    old_host, new_host = bytes(ip[ip_field : ip_field + 4]), socket.inet_aton(address.host)
    port_at = start + port_field
    old_port, new_port = bytes(ip[port_at : port_at + 2]), struct.pack(">H", address.port)
    ip[ip_field : ip_field + 4] = new_host
    ip[port_at : port_at + 2] = new_port
    _adjust(ip, _IP_CHECKSUM, old_host, new_host)
    checksum_at = start + _CHECKSUM_OFFSET[protocol]
    if frame[0] & _NEEDS_CHECKSUM:
        _adjust(ip, checksum_at, old_host, new_host, inverted=False)
    elif protocol == ICMP:
        _adjust(ip, checksum_at, old_port, new_port)
    elif protocol != UDP or any(ip[checksum_at : checksum_at + 2]):
        _adjust(ip, checksum_at, old_host + old_port, new_host + new_port)


def _adjust(ip: memoryview, at: int, old: bytes, new: bytes, inverted: bool = True) -> None:
    """RFC 1624, equation 3; ``inverted`` as on the wire, not so for an unfinished sum."""
    flip = 0xFFFF if inverted else 0
    total = struct.unpack_from(">H", ip, at)[0] ^ flip
    words = f">{len(old) // 2}H"
    total += sum(word ^ 0xFFFF for word in struct.unpack(words, old))
    total += sum(struct.unpack(words, new))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", ip, at, total ^ flip)


def hop(frame: memoryview) -> bool:
    """Count one router: decrement the time to live. False when the packet has to die here."""
    ip = frame[IP_OFFSET:]
    if ip[0] >> 4 == 6:
        ip[_IP6_HOP_LIMIT] = max(ip[_IP6_HOP_LIMIT] - 1, 0)
        return bool(ip[_IP6_HOP_LIMIT])
    old = bytes(ip[8:10])
    if old[0] <= 1:
        return False
    ip[8] = old[0] - 1
    _adjust(ip, _IP_CHECKSUM, old, bytes(ip[8:10]))
    return True


def corrupt(frame: memoryview, rng: random.Random) -> None:
    """Flip one bit behind the headers, in a way that the receiving program gets to see.

    A UDP packet loses its checksum (0: not computed), as if the damage had passed it by chance,
    which in a long run it does. For TCP, ICMP and all of IPv6, where checksums are a must, the
    receiver's kernel notices and the packet is lost.
    """
    ip = frame[IP_OFFSET:]
    if ip[0] >> 4 == 6 and len(ip) > _IP6_HEADER:
        frame[:ETHERNET_OFFSET] = bytes(ETHERNET_OFFSET)
        ip[rng.randrange(_IP6_HEADER, len(ip))] ^= 1 << rng.randrange(8)
        return
    start = _transport(ip)
    if start is None or len(ip) <= start + 8:
        return
    if frame[0] & _NEEDS_CHECKSUM:
        frame[:ETHERNET_OFFSET] = bytes(ETHERNET_OFFSET)  # the field stays unfinished, thus wrong
    if ip[9] == UDP:
        ip[start + 6 : start + 8] = b"\0\0"
    ip[rng.randrange(start + 8, len(ip))] ^= 1 << rng.randrange(8)
