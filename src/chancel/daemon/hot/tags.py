"""Frames whose VLAN tag comes beside them: how a packet socket gives what the kernel received.

The kernel takes the tag off every frame that an interface receives and tells of it in the socket's
control data. It is put back here: without it, what was sent in one VLAN would arrive outside it.
"""

from __future__ import annotations

import socket
import struct

_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, two lengths, two offsets, the tag, its type."""

_TAG_VALID = 0x10
_TYPE_VALID = 0x40
_VLAN = 0x8100

_MACS_BYTES = 12
_TAG = struct.Struct("!HH")
_PLACE = struct.Struct("=H")
_PLACES = (2, 6)
"""In struct virtio_net_hdr: where the frame's headers end, and where summing starts."""


class TaggedFrames:
    """Reads a packet socket (descriptor ``fd``) into ``prefix``, a virtio header or nothing, and
    ``packet``, which has four bytes more than the largest frame."""

    def __init__(self, fd: int, prefix: memoryview, packet: memoryview) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0, fileno=fd)
        self._prefix = prefix
        self._view = packet
        self._parts = [prefix, packet] if prefix else [packet]
        self._control_bytes = socket.CMSG_SPACE(_AUXDATA.size)

    def __del__(self) -> None:
        self._socket.detach()  # the descriptor is the caller's

    def read(self) -> int:
        """One frame with its tag in it; returns the size. Raises BlockingIOError for none."""
        size, control, _, _ = self._socket.recvmsg_into(self._parts, self._control_bytes)
        for level, kind, data in control:
            if (level, kind) != (_SOL_PACKET, _PACKET_AUXDATA) or len(data) < _AUXDATA.size:
                continue
            status, _, _, _, _, tag, ethertype = _AUXDATA.unpack_from(data)
            if status & _TAG_VALID:
                self._insert(size, ethertype if status & _TYPE_VALID else _VLAN, tag)
                size += _TAG.size
        return size

    def _insert(self, size: int, ethertype: int, tag: int) -> None:
        view, behind = self._view, size - len(self._prefix)
        view[_MACS_BYTES + _TAG.size : behind + _TAG.size] = view[_MACS_BYTES:behind]
        _TAG.pack_into(view, _MACS_BYTES, ethertype, tag)
        for at in _PLACES if self._prefix else ():
            (place,) = _PLACE.unpack_from(self._prefix, at)
            _PLACE.pack_into(self._prefix, at, (place + _TAG.size) & 0xFFFF)
