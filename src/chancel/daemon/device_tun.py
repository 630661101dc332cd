"""TUN and TAP: the kernel's own devices for tunnels. Each offload is tried by itself."""

from __future__ import annotations

import fcntl
import os
import struct

from chancel.daemon import device_trial
from chancel.daemon.device_types import Device
from chancel.daemon.offloads import ALL, NONE, OF_DEVICE, TSO, USO, Offload

CLONE_DEVICE = "/dev/net/tun"

VNET_HEADER_BYTES = 10

_TUNSETIFF = 0x4004_54CA
_TUNSETOFFLOAD = 0x4004_54D0
_TUNSETVNETHDRSZ = 0x4004_54D8

_IFF_TUN = 0x0001
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000

_FLAGS = (
    (Offload.CHECKSUM, 0x01),
    (Offload.TSO4, 0x02),
    (Offload.TSO6, 0x04),
    (USO, 0x20 | 0x40),
    (Offload.USO4, 0x20),
    (Offload.USO6, 0x40),
)
"""What the kernel calls them (``TUN_F_…``). Of today's kernels none has USO for one IP version
alone, so both are asked for first."""

_TSO_ECN = 0x08
"""Segments of which the first one has CWR set: a part of TSO that old kernels may lack."""


def open_clone_device() -> int:
    """Open the device from which others are made. Raises OSError."""
    return os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def attach(tun: int, name: str, *, wanted: Offload = ALL, tap: bool = False) -> Device:
    """Make the TUN (or TAP) device ``name`` on an open clone device. Raises OSError."""
    vnet = bool(wanted & OF_DEVICE)
    flags = (_IFF_TAP if tap else _IFF_TUN) | _IFF_NO_PI | (_IFF_VNET_HDR if vnet else 0)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    offloads = NONE
    if vnet:
        fcntl.ioctl(tun, _TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_BYTES))
        offloads = _enable(tun, wanted) | device_trial.coalescing(tun, wanted, ethernet=tap)
    return Device(tun, name, b"", vnet=vnet, offloads=offloads)


def _enable(tun: int, wanted: Offload) -> Offload:
    """Have the kernel leave to us what it can of the wanted; returns what that is."""
    found, flags = NONE, 0
    for offload, flag in _FLAGS:
        if offload in wanted and not offload & found and _accepts(tun, flags | flag):
            found, flags = found | offload, flags | flag
    if found & TSO:
        _accepts(tun, flags | _TSO_ECN)
    return found


def _accepts(tun: int, flags: int) -> bool:
    """Whether the kernel takes this set; if not, the one before stays."""
    try:
        fcntl.ioctl(tun, _TUNSETOFFLOAD, flags)
    except OSError:
        return False
    return True
