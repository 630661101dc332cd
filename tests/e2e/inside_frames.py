"""What tests do with Ethernet frames and bridges inside a host: see ``inside``."""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator

_PATIENCE_S = 30.0
_ETH_P_ALL = 0x0003
_ETH_P_8021Q = 0x8100
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_OUR_MAC = bytes.fromhex("02c4000000aa")


def plug(interface: str, bridge: str) -> None:
    """Make an interface a port of a bridge, and nothing else."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        index = socket.if_nametoindex(interface)
        ip.flush_addr(index=index)
        ip.link("set", index=index, master=socket.if_nametoindex(bridge))


def addresses(interface: str) -> list[str]:
    """All addresses of an interface."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        found = ip.get_addr(index=socket.if_nametoindex(interface))
    return [address.get_attr("IFA_ADDRESS") for address in found]


def send_frame(interface: str, ethertype: int, size: int, tag: int) -> None:
    """Send everybody a frame of ``size`` bytes of payload, with a VLAN tag unless that is 0."""
    header = b"\xff" * 6 + _OUR_MAC
    if tag:
        header += struct.pack("!HH", _ETH_P_8021Q, tag)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        sock.send(header + struct.pack("!H", ethertype) + bytes(size))


def hear_frame(interface: str) -> Generator[str, None, dict[str, int]]:
    """The next frame that ``send_frame`` sent. Yields once, listening.

    Raises TimeoutError after a long silence.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as sock:
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.bind((interface, _ETH_P_ALL))
        sock.settimeout(_PATIENCE_S)
        yield "listening"
        while True:
            frame, control, _, _ = sock.recvmsg(4000, 100)
            if frame[6:12] == _OUR_MAC:
                ((_, _, aside),) = control
                (tag,) = struct.unpack_from("=H", aside, 16)
                (ethertype,) = struct.unpack_from("!H", frame, 12)
                return {"ethertype": ethertype, "size": len(frame) - 14, "tag": tag}
