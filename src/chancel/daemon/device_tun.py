"""TUN and TAP: the kernel's own devices for tunnels. Offloads are probed, the best set wins."""

from __future__ import annotations

import fcntl
import os
import struct

from chancel.daemon.device_types import Device

CLONE_DEVICE = "/dev/net/tun"

VNET_HEADER_BYTES = 10

_TUNSETIFF = 0x4004_54CA
_TUNSETOFFLOAD = 0x4004_54D0
_TUNSETVNETHDRSZ = 0x4004_54D8

_IFF_TUN = 0x0001
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000

_CSUM = 0x01
_TSO = 0x02 | 0x04 | 0x08
_USO = 0x20 | 0x40


def open_clone_device() -> int:
    """Open the device from which others are made. Raises OSError."""
    return os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def attach(tun: int, name: str, *, offload: bool, tap: bool = False) -> Device:
    """Make the TUN (or TAP) device ``name`` on an open clone device. Raises OSError."""
    flags = (_IFF_TAP if tap else _IFF_TUN) | _IFF_NO_PI | (_IFF_VNET_HDR if offload else 0)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    if not offload:
        return Device(tun, name, b"", vnet=False, tso=False, uso=False)
    fcntl.ioctl(tun, _TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_BYTES))
    uso = _enable(tun, _CSUM | _TSO | _USO)
    tso = uso or _enable(tun, _CSUM | _TSO)
    return Device(tun, name, b"", vnet=True, tso=tso, uso=uso)


def _enable(tun: int, offloads: int) -> bool:
    try:
        fcntl.ioctl(tun, _TUNSETOFFLOAD, offloads)
    except OSError:
        return False
    return True
