"""Which big packets a device takes: found out by handing it one of each kind.

The kernel looks at a virtio header before it notices that the device is down, so a device that was
just made says EINVAL to what it doesn't know, another error to the rest, and passes nothing on.
"""

from __future__ import annotations

import errno
import os
import struct

from chancel.daemon.hot.cut import GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CHECKSUM, VNET
from chancel.daemon.offloads import NONE, Offload

_SEGMENT = 1000
_PAYLOAD = bytes(2 * _SEGMENT)
_TCP, _UDP = 6, 17
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}

_KINDS = {
    Offload.COALESCE_TCP4: (GSO_TCP4, 4, _TCP),
    Offload.COALESCE_TCP6: (GSO_TCP6, 6, _TCP),
    Offload.COALESCE_UDP: (GSO_UDP, 4, _UDP),
}
"""The kind in the virtio header, the IP version and the protocol of a packet of that kind."""


def coalescing(fd: int, wanted: Offload, *, ethernet: bool) -> Offload:
    """Those of the wanted ``COALESCE_…`` that the device takes. It has to be down.

    ``ethernet``: before each packet there has to be an Ethernet header.
    """
    found = NONE
    for each in _KINDS:
        if each in wanted and _takes(fd, each, ethernet):
            found |= each
    return found


def _takes(fd: int, offload: Offload, ethernet: bool) -> bool:
    kind, version, protocol = _KINDS[offload]
    frame = bytes(12) + _TYPES[version] if ethernet else b""
    transport, field = _transport(protocol)
    ip = _ip(version, protocol, len(transport) + len(_PAYLOAD))
    start = len(frame) + len(ip)
    vnet = VNET.pack(NEEDS_CHECKSUM, kind, start + len(transport), _SEGMENT, start, field)
    try:
        os.write(fd, vnet + frame + ip + transport + _PAYLOAD)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def _ip(version: int, protocol: int, payload_bytes: int) -> bytes:
    """A header from an address to itself, without a checksum: nobody ever receives it."""
    if version == 6:
        return struct.pack("!IHBB32x", 6 << 28, payload_bytes, protocol, 1)
    return struct.pack("!BxHIBB10x", 0x45, 20 + payload_bytes, 0, 1, protocol)


def _transport(protocol: int) -> tuple[bytes, int]:
    """A header, and where in it the checksum stands."""
    if protocol == _TCP:
        return struct.pack("!12xBB6x", 5 << 4, 0x10), 16
    return struct.pack("!HHHH", 9, 9, 8 + len(_PAYLOAD), 0), 6
