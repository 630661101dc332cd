"""A tunnel's network device: where the kernel hands us packets of the inside, and takes them.

Two kinds give the same conversation, a frame per read and per write: TUN or TAP (``device_tun``),
and where ``/dev/net/tun`` is closed to us, the far end of a veth pair (``device_packet``). A frame
is a 10-byte virtio header (unless offloads are off), then ``frame_header``, then an IP packet or,
with TAP, an Ethernet frame. It is up to 64 KiB long when the header says that it is a train to be
cut.
"""

from __future__ import annotations

import os

from chancel.daemon import device_packet, device_tun, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.linux import MachineError


def open_device(name: str, *, offload: bool, tap: bool = False) -> Device:
    """Make the device ``name``, down and without address. Raises :class:`MachineError`.

    It disappears when the last descriptor of it is closed, in whatever process.
    """
    if netconf.exists(name):
        raise MachineError(f"network device {name} already exists (expected a new name)")
    try:
        tun = device_tun.open_clone_device()
    except OSError as closed:
        try:
            return device_packet.open_packet_device(name, offload=offload, tap=tap)
        except OSError as error:
            raise MachineError(
                f"network device {name} can't be made: {device_tun.CLONE_DEVICE}:"
                f" {closed.strerror}; veth: {error.strerror}"
                f" (run as root, or: sudo chmod 0666 {device_tun.CLONE_DEVICE})"
            ) from error
    try:
        return device_tun.attach(tun, name, offload=offload, tap=tap)
    except OSError as error:
        os.close(tun)
        raise MachineError(
            f"network device {name} can't be made: {error.strerror} (run as root)"
        ) from error
