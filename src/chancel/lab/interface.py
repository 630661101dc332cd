"""One network interface of a host, its far end in the keeper's hands.

A veth pair: the near end is the host's interface; the far end stays in the keeper's own namespace,
where a packet socket with virtio headers reads what the host sends and writes what it receives.
Rejected: a TUN device, which would be a little quicker, because /dev/net/tun is closed to users on
some machines and a second kind of device would have to be tested everywhere.

The near end has no ARP: the kernel then addresses each frame to the interface's own MAC address,
and accepts every frame that carries it, so that the keeper needs to think of IP addresses only.

A frame is one buffer: a 10-byte virtio header (little-endian; checksum still to be filled in, or a
train of packets to be cut later), 14 bytes of Ethernet, the IP packet. An interface carries packets
of its address's version, and no others.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from ipaddress import IPv4Interface, IPv6Interface

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
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_ADDRESS_GENERATION_NONE = 1
_IFA_F_NODAD = 0x02
_IFF_NOARP = 0x80
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 << 20

IpInterface = IPv4Interface | IPv6Interface

_FULL = {errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN}


class Interface:
    """The far end of interface ``name`` of a host (namespace descriptor ``net``).

    ``number`` is unique in the keeper.
    """

    def __init__(
        self, number: int, net: int, name: str, address: IpInterface, default_route: bool
    ) -> None:
        self.address = address
        self.name = name
        self.overruns = 0
        """Frames the kernel had no room for on their way to the host."""
        self._net = net
        self._trains = True
        mac = bytes((0x02, 0xC4)) + struct.pack(">I", number)
        self._ethernet = mac + mac + struct.pack(">H", _ETHERTYPES[address.version])
        far = f"wire{number}"
        near = {"ifname": name, "net_ns_fd": net, "address": mac.hex(":")}
        with IPRoute() as ip:
            ip.link("add", ifname=far, kind="veth", peer=near)
            ip.link("set", index=ip.link_lookup(ifname=far)[0], state="up", mtu=MTU)
        with inside(net), IPRoute() as ip:
            self._index = ip.link_lookup(ifname=name)[0]
            ip.link("set", index=self._index, flags=_IFF_NOARP, change=_IFF_NOARP, txqlen=10_000)
            if address.version == 6:
                _no_generated_address(ip, self._index)
            add_address(ip, self._index, address)
            ip.link("set", index=self._index, state="up")
            if default_route:
                _add_default_route(ip, self._index, address.version)
        self._socket = _packet_socket(far, _ETHERTYPES[address.version])

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


def add_address(ip: IPRoute, index: int, address: IpInterface) -> None:
    """Give an interface an address that is good at once, unseen by neighbours of the same one."""
    flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
    length = address.network.prefixlen
    ip.addr("add", index=index, address=str(address.ip), prefixlen=length, **flags)


def _no_generated_address(ip: IPRoute, index: int) -> None:
    """Without a link-local address the kernel looks for no neighbours and routers."""
    mode = ("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE)
    ip.link("set", index=index, IFLA_AF_SPEC={"attrs": [("AF_INET6", {"attrs": [mode]})]})


def _add_default_route(ip: IPRoute, index: int, version: int) -> None:
    if version == 4:
        ip.route("add", dst="0.0.0.0/0", oif=index, scope="link")
    else:
        ip.route("add", dst="::/0", oif=index)


def _packet_socket(interface: str, ethertype: int) -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    packets.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    packets.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    with contextlib.suppress(PermissionError):  # beyond the system's limit only as real root
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    packets.bind((interface, ethertype))
    return packets
