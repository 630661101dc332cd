"""A veth pair in place of TUN or TAP, for users and containers that have no ``/dev/net/tun``.

The near end is the tunnel's device. The far end lies in a network namespace of its own, in which
nothing lives but the packet socket that reads and writes it: the namespace, and with it the pair,
ends when the last descriptor of that socket is closed, as a TUN device would.

In place of TUN the near end has no ARP, so the kernel sends every packet to the device's own
hardware address. In place of TAP it is as it is, and the whole Ethernet frames are carried; the
kernel tells of their VLAN tags apart (``hot.tags``).
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct
from pathlib import Path

from chancel.daemon import device_features, device_trial, linux, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.offloads import ALL, NONE, OF_DEVICE, TSO, USO, Offload

FAR_END = "far"
FAR_MTU = 1500
"""Room for the largest packet of any tunnel; only the near end's MTU ever changes."""

BUFFER_BYTES = 4 << 20

_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_PACKET_AUXDATA = 8
_PACKET_QDISC_BYPASS = 20
_PACKET_IGNORE_OUTGOING = 23
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_ETH_P_IPV6 = 0x86DD
_IFF_NOARP = 0x80
_SO_RCVBUFFORCE = 33

_LOAD_HALF, _JUMP_EQUAL, _RETURN = 0x28, 0x15, 0x06
"""Instructions of the kernel's packet filter (BPF)."""

_FEATURES = (
    ("tx-checksum-ip-generic", Offload.CHECKSUM),
    ("tx-tcp-segmentation", Offload.TSO4),
    ("tx-tcp-mangleid-segmentation", Offload.TSO4),
    ("tx-tcp6-segmentation", Offload.TSO6),
    ("tx-tcp-ecn-segmentation", TSO),
    ("tx-udp-segmentation", USO),
)
"""What a veth device is asked for, and which of our offloads it is."""

_NEVER = ("tx-checksum-sctp", "tx-gso-list")
"""These, and big packets of any other kind, are beyond what a virtio header can say."""

_BIG = "-segmentation"
_OF_THE_KERNEL = "tx-generic-segmentation"
"""Big packets that the kernel cuts itself before they get to the device."""


def open_packet_device(name: str, *, wanted: Offload = ALL, tap: bool = False) -> Device:
    """Make the device ``name``, down and without address. Raises OSError."""
    vnet = bool(wanted & OF_DEVICE)
    with linux.empty_network() as home:
        packets = _far_end(name, home, vnet=vnet, tap=tap)
    try:
        mac = _near_end(name, tap=tap)
        offloads = _offloads(packets.fileno(), name, wanted if vnet else NONE)
    except OSError:
        packets.close()
        raise
    return Device(
        packets.detach(),
        name,
        frame_header=b"" if tap else mac + mac + struct.pack("!H", _ETH_P_IP),
        vnet=vnet,
        offloads=offloads,
        tags_aside=tap,
    )


def _far_end(name: str, home: int, *, vnet: bool, tap: bool) -> socket.socket:
    with contextlib.suppress(OSError):  # no IPv6, or /proc/sys read-only: some chatter, no harm
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        with netconf.netlink() as ip:
            near = {"ifname": name, "net_ns_fd": home}
            ip.link("add", ifname=FAR_END, kind="veth", peer=near)
            ip.link("set", index=socket.if_nametoindex(FAR_END), state="up", mtu=FAR_MTU)
        if vnet:
            packets.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        # A queue that veth has no use for, and that drops everything in the device's first second.
        packets.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with contextlib.suppress(PermissionError):  # beyond the machine's limit only as its root
            packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        packets.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)  # or we'd read what we write
        if tap:
            packets.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        else:
            _receive_only_ip(packets)
        packets.bind((FAR_END, _ETH_P_ALL))
    except OSError:
        packets.close()
        raise
    return packets


def _receive_only_ip(packets: socket.socket) -> None:
    """Attach a filter that lets IPv4 and IPv6 pass, as a TUN device does."""
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD_HALF, 0, 0, 12),  # the frame's type
            (_JUMP_EQUAL, 1, 0, _ETH_P_IP),
            (_JUMP_EQUAL, 0, 1, _ETH_P_IPV6),
            (_RETURN, 0, 0, 0xFFFF_FFFF),
            (_RETURN, 0, 0, 0),
        )
    )
    code = array.array("B", program)
    attached = struct.pack("@HP", len(program) // 8, code.buffer_info()[0])
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)


def _near_end(name: str, *, tap: bool) -> bytes:
    """Returns the near end's hardware address."""
    index = socket.if_nametoindex(name)
    with netconf.netlink() as ip:
        if not tap:
            ip.link("set", index=index, flags=_IFF_NOARP, change=_IFF_NOARP)
        (link,) = ip.link("get", index=index)
    return bytes.fromhex(link.get_attr("IFLA_ADDRESS").replace(":", ""))


def _offloads(packets: int, name: str, wanted: Offload) -> Offload:
    """Have the near end leave to us what it can of the wanted, and no more. Returns that."""
    taken = NONE
    if wanted:
        of_headers = Offload.COALESCE_UDP if wanted & USO else NONE
        taken = device_trial.coalescing(packets, wanted | of_headers, ethernet=True)
        if Offload.COALESCE_UDP not in taken:
            wanted &= ~USO  # a virtio header of this kernel can't tell of them either
    ours = {feature for feature, offload in _FEATURES if offload & wanted}
    big = {each for each in device_features.names(name) if each.endswith(_BIG)}
    of_checksum = {feature for feature, _offload in _FEATURES}
    device_features.switch_off(name, (big | of_checksum | {*_NEVER}) - ours - {_OF_THE_KERNEL})
    active = device_features.active(name)
    found = taken
    for feature, offload in _FEATURES:
        if feature in active:
            found |= offload
    return found & wanted
