"""The UDP socket of a tunnel: bound, never fragmenting, with the kernel's offloads probed."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import NamedTuple

from chancel.daemon.linux import MachineError
from chancel.wire.types import Address

BUFFER_BYTES = 4 << 20
"""Of each direction: bursts wait here while a process sleeps."""

UDP_SEGMENT = 103
UDP_GRO = 104

_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_IPV6_DONTFRAG = 62
_PMTUDISC_DO = 2
_ANY6 = "::"
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33


class UdpSocket(NamedTuple):
    """The socket, non-blocking, and whether it sends and receives trains of datagrams."""

    socket: socket.socket
    gso: bool
    gro: bool


def open_udp(
    local: Address, *, gso: bool = True, gro: bool = True, buffer_bytes: int = BUFFER_BYTES
) -> UdpSocket:
    """Bind to ``local`` (port 0: any free one). Raises :class:`MachineError`.

    ``gso`` and ``gro``: whether trains are wanted, if the kernel has them.

    The kernel's buffers are of ``buffer_bytes`` each, as far as the machine allows. An IPv6 socket
    bound to any address takes IPv4 as well.
    """
    try:
        udp = _never_fragmenting(local)
    except OSError as error:
        raise MachineError(_refusal(local, error)) from error
    try:
        _grow(udp, socket.SO_RCVBUF, _SO_RCVBUFFORCE, buffer_bytes)
        _grow(udp, socket.SO_SNDBUF, _SO_SNDBUFFORCE, buffer_bytes)
        udp.bind(local)
    except OSError as error:
        udp.close()
        raise MachineError(_refusal(local, error)) from error
    return UdpSocket(
        udp,
        gso=gso and _enable(udp, UDP_SEGMENT, 0),
        gro=gro and _enable(udp, UDP_GRO, 1),
    )


def _never_fragmenting(local: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in local.host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)
            udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, local.host != _ANY6)
    except OSError:
        udp.close()
        raise
    return udp


def _grow(udp: socket.socket, option: int, forced: int, size: int) -> None:
    udp.setsockopt(socket.SOL_SOCKET, option, size)
    with contextlib.suppress(PermissionError):  # beyond the machine's limit only as its root
        udp.setsockopt(socket.SOL_SOCKET, forced, size)


def _enable(udp: socket.socket, option: int, value: int) -> bool:
    try:
        udp.setsockopt(socket.IPPROTO_UDP, option, value)
    except OSError:
        return False
    return True


def _refusal(local: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"local {local} is in use by another program (expected a free port)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"local {local}: this machine has no such address (expected one of its own)"
    if error.errno == errno.EAFNOSUPPORT:
        return f"local {local}: this machine has no IPv6 (expected an IPv4 address)"
    return f"local {local} can't be bound: {error.strerror}"
