"""A tunnel's network device: where the kernel hands us packets of the inside, and takes them.

Two kinds give the same conversation, a frame per read and per write: TUN or TAP (``device_tun``),
and where ``/dev/net/tun`` is closed to us, the far end of a veth pair (``device_packet``). A frame
is a 10-byte virtio header (unless the device's offloads are all off), then ``frame_header``, then
an IP packet or, with TAP, an Ethernet frame. It is up to 64 KiB long when the header says that it
is a train to be cut.
"""

from __future__ import annotations

import os

from chancel.daemon import device_packet, device_tun, linux, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.linux import MachineError
from chancel.daemon.offloads import ALL, Offload


def open_device(name: str, *, wanted: Offload = ALL, tap: bool = False) -> Device:
    """Make the device ``name``, down and without address. Raises :class:`MachineError`.

    It disappears when the last descriptor of it is closed, in whatever process.
    """
    if netconf.exists(name):
        raise MachineError(f"network device {name} already exists (expected a new name)")
    try:
        tun = device_tun.open_clone_device()
    except OSError as closed:
        try:
            return device_packet.open_packet_device(name, wanted=wanted, tap=tap)
        except OSError as error:
            if not linux.has_capability(linux.CAP_NET_ADMIN):
                raise _no_right(name, error) from error
            raise MachineError(
                f"network device {name} can't be made: {device_tun.CLONE_DEVICE}:"
                f" {closed.strerror}; veth: {error.strerror}"
                f" (expected one of them: sudo chmod 0666 {device_tun.CLONE_DEVICE};"
                f" in Docker: --device={device_tun.CLONE_DEVICE})"
            ) from error
    try:
        return device_tun.attach(tun, name, wanted=wanted, tap=tap)
    except OSError as error:
        os.close(tun)
        if isinstance(error, PermissionError):
            raise _no_right(name, error) from error
        raise MachineError(f"network device {name} can't be made: {error.strerror}") from error


def _no_right(name: str, error: OSError) -> MachineError:
    """Who may open ``/dev/net/tun`` may not make a device yet: that takes CAP_NET_ADMIN."""
    return MachineError(
        f"network device {name} can't be made: {error.strerror}"
        " (run as root, in a container with CAP_NET_ADMIN; without root a tunnel has a network"
        " of its own: chancel exec, or chancel up)"
    )
