"""The kernel itself as the judge of how a big packet is cut.

A frame with a virtio header is sent into a veth pair whose near end can neither cut nor sum: so the
kernel does both on the way, as it would for a network card, and single packets come out at the far
end. To be used in a network of one's own (``in_network``).
"""

from __future__ import annotations

import array
import errno
import fcntl
import itertools
import os
import select
import socket
import struct
from pathlib import Path
from typing import Self

from chancel.daemon import netconf
from tests.daemon.frames import ETHERNET, TYPES, Frame
from tests.daemon.naive import NO_VNET, VNET

LIMIT_S = 60.0
MTU = 1500

_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_ETH_P_ALL = 0x0003
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_MARK = b"\x88\xb5"
"""An Ethernet type for experiments."""

_BUFFER_BYTES = 4 << 20
_NONSENSE = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM})
"""ENOMEM is what it says of a train that it can't cut (one of one segment, for example), ENOBUFS of
what is in the end longer than the wire takes."""


class Segmenter:
    """Cuts frames of IP packets, or with Ethernet headers."""

    def __init__(self) -> None:
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        with netconf.netlink() as ip:
            ip.link("add", ifname="near", kind="veth", peer={"ifname": "far"})
            for name in ("near", "far"):
                ip.link("set", index=socket.if_nametoindex(name), state="up", mtu=MTU)
        _no_offloads("near")
        self._near = _packets("near", 0)
        self._near.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        self._far = _packets("far", _ETH_P_ALL)
        self._numbers = itertools.count()
        while not self._passes():  # a veth pair takes a moment after it came up
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._near.close()
        self._far.close()

    def cut(self, frame: Frame, link_bytes: int) -> list[bytes] | None:
        """The packets of a frame, each with its Ethernet header if the frame has one; ``None`` for
        a virtio header that the kernel refuses."""
        added = b"" if link_bytes else ETHERNET + TYPES.get(frame.data[0] >> 4, b"\x08\x00")
        flags, kind, head, segment, start, field = VNET.unpack(frame.vnet)
        if frame.vnet != NO_VNET:
            head, start = min(head + len(added), 0xFFFF), min(start + len(added), 0xFFFF)
        vnet = VNET.pack(flags, kind, head, segment, start, field)
        try:
            self._near.send(vnet + added + frame.data)
        except OSError as error:
            if error.errno not in _NONSENSE:
                raise
            return None
        return [each[len(added) :] for each in self._until_mark()]

    def _until_mark(self) -> list[bytes]:
        mark = ETHERNET + _MARK + next(self._numbers).to_bytes(8, "big") + bytes(40)
        self._near.send(NO_VNET + mark)
        came: list[bytes] = []
        while not (came and came[-1] == mark):
            assert select.select([self._far], [], [], LIMIT_S)[0], "the kernel dropped the mark"
            came.append(self._far.recv(70_000))
        return came[:-1]

    def _passes(self) -> bool:
        self._near.send(NO_VNET + ETHERNET + _MARK + bytes(48))
        if not select.select([self._far], [], [], 0.01)[0]:
            return False
        while select.select([self._far], [], [], 0.01)[0]:
            self._far.recv(70_000)
        return True


def _packets(name: str, protocol: int) -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    packets.bind((name, protocol))
    return packets


def _no_offloads(name: str) -> None:
    """Without a device that sums, the kernel has none that cuts, either."""
    command = array.array("I", (_ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP16x", name.encode(), command.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def cuts_udp() -> bool:
    """Whether this kernel takes trains of UDP from a packet socket."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (6, 2)
