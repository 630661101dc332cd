"""One network interface of a host, its far end in the keeper's hands.

A veth pair: the near end is the host's interface; the far end stays in the keeper's own namespace,
where a packet socket with virtio headers reads what the host sends and writes what it receives.
Rejected: a TUN device, which would be a little quicker, because /dev/net/tun is closed to users on
some machines and a second kind of device would have to be tested everywhere.

The near end has no ARP: the kernel then addresses each frame to the interface's own MAC address,
and accepts every frame that carries it, so that the keeper needs to think of IP addresses only.

A frame is one buffer: a 10-byte virtio header (little-endian; checksum still to be filled in, or a
train of packets to be cut later), 14 bytes of Ethernet, the IPv4 packet.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from ipaddress import IPv4Interface

from pyroute2 import IPRoute

from chancel.lab.namespace import inside

ETHERNET_OFFSET = 10
IP_OFFSET = 24
LARGEST_FRAME = IP_OFFSET + 65536

MTU = 1500
TRAIN_SEGMENTS = 65535
"""Packets in one frame when trains are allowed: the kernel's own bound."""

_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_PACKET_QDISC_BYPASS = 20
_ETH_P_IP = 0x0800
_IFF_NOARP = 0x80
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 << 20

_FULL = {errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN}


class Interface:
    """The far end of interface ``name`` of a host (namespace descriptor ``net``).

    ``number`` is unique in the keeper.
    """

    def __init__(
        self, number: int, net: int, name: str, address: IPv4Interface, default_route: bool
    ) -> None:
        self.address = address
        self.name = name
        self.overruns = 0
        """Frames the kernel had no room for on their way to the host."""
        self._net = net
        self._trains = True
        mac = bytes((0x02, 0xC4)) + struct.pack(">I", number)
        self._ethernet = mac + mac + struct.pack(">H", _ETH_P_IP)
        far = f"wire{number}"
        near = {"ifname": name, "net_ns_fd": net, "address": mac.hex(":")}
        with IPRoute() as ip:
            ip.link("add", ifname=far, kind="veth", peer=near)
            ip.link("set", index=ip.link_lookup(ifname=far)[0], state="up", mtu=MTU)
        with inside(net), IPRoute() as ip:
            self._index = ip.link_lookup(ifname=name)[0]
            ip.link("set", index=self._index, flags=_IFF_NOARP, change=_IFF_NOARP, txqlen=10_000)
            ip.addr(
                "add",
                index=self._index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
            )
            ip.link("set", index=self._index, state="up")
            if default_route:
                ip.route("add", dst="0.0.0.0/0", oif=self._index, scope="link")
        self._socket = _packet_socket(far)

    def fileno(self) -> int:
        """The descriptor to wait on for :meth:`read`."""
        return self._socket.fileno()

    def read(self, buffer: bytearray) -> int:
        """One frame from the host into ``buffer`` (LARGEST_FRAME bytes); 0 when there is none."""
        try:
            return self._socket.recv_into(buffer)
        except BlockingIOError:
            return 0

    def accept(self, frame: memoryview, now: float) -> None:  # noqa: ARG002 - a wire.Receiver
        """Give a frame to the host. Its Ethernet header is overwritten."""
        frame[ETHERNET_OFFSET:IP_OFFSET] = self._ethernet
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.overruns += 1

    def allow_trains(self, allowed: bool) -> None:
        """Whether the host may send many packets of a flow as one frame (kernel segmentation)."""
        if allowed == self._trains:
            return
        self._trains = allowed
        segments = TRAIN_SEGMENTS if allowed else 1
        with inside(self._net), IPRoute() as ip:
            ip.link("set", index=self._index, gso_max_segs=segments)


def _packet_socket(interface: str) -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    packets.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    packets.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    with contextlib.suppress(PermissionError):  # beyond the system's limit only as real root
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    packets.bind((interface, _ETH_P_IP))
    return packets
