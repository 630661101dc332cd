"""What every kind of network device gives."""

from __future__ import annotations

import dataclasses

from chancel.daemon.offloads import Offload


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """An open device. ``fd`` is non-blocking and belongs to whoever opened it.

    ``frame_header`` stands between the virtio header and each IPv4 packet, both ways; before IPv6
    it has that type. With TAP it is empty: the packets are Ethernet frames. ``vnet``: frames begin
    with a virtio header. ``offloads``: what the kernel was asked for and has; the big packets that
    may come, and those that may be written. ``tags_aside``: a frame's VLAN tag isn't in it, but in
    the control data of ``recvmsg``.
    """

    fd: int
    name: str
    frame_header: bytes
    vnet: bool
    offloads: Offload
    tags_aside: bool = False
