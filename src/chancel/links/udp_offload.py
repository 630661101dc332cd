"""Trains of datagrams: what Linux takes off our hands, and the plain way of everywhere else.

One call sends many datagrams of one size (``UDP_SEGMENT``), one call brings many (``UDP_GRO``), and
the kernel keeps what ICMP says about datagrams we sent (``IP_RECVERR``; without it, a socket that
talks to many never hears). Each is probed. A call costs some 3 µs, which a train of 50 shares.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from chancel.links.endpoint import check_size, size_of
from chancel.links.udp_socket import ON_LINUX, Target
from chancel.wire.types import Address, Buffer

MAX_DATAGRAM = 65_507
"""UDP's largest payload over IPv4, and of a whole train; over IPv6 it would be 20 bytes more."""

MAX_SEGMENTS = 64
"""Datagrams of one train: 128 in new kernels, 64 in those before 6.9."""

NO_TRAIN = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO})
"""Sending as a train failed: the datagrams exceed the path's MTU, or the device can't."""

PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN"),
        *("EHOSTUNREACH", "EINVAL", "EIO", "EMSGSIZE", "ENETDOWN", "ENETRESET", "ENETUNREACH"),
        *("ENOBUFS", "ENODEV", "ENOMEM", "ENONET", "ENOPROTOOPT", "EOPNOTSUPP", "EPERM", "EPROTO"),
    )
    if hasattr(errno, name)  # not every system has them all
)
"""What the network, or the machine at its edge, says of one datagram; the next one may pass."""

_UDP_SEGMENT, _UDP_GRO = 103, 104
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_MSG_ERRQUEUE = 0x2000
_ERROR = struct.Struct("=IB")
"""The head of ``sock_extended_err``: an errno, and its origin."""

_FROM_ICMP = frozenset({2, 3})
"""Origins: ICMP and ICMPv6. What the machine itself refused, the call that failed has said."""

_MAX_ERRORS = 64
"""Errors to take at once; the next call finds the rest."""

_SEGMENT = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")
_ERROR_BYTES = socket.CMSG_SPACE(64) if ON_LINUX else 0
_CONTROL_BYTES = socket.CMSG_SPACE(_GRO_SIZE.size) if ON_LINUX else 0
_READ_BYTES = 65_536


class Offloads(NamedTuple):
    """Which trains the kernel carries: ``send`` is ``UDP_SEGMENT``, ``receive`` is ``UDP_GRO``."""

    send: bool
    receive: bool


class Train(NamedTuple):
    """Datagrams for one address and one call: all of one size, the last one maybe shorter."""

    datagrams: list[Buffer]
    size: int
    address: Address


def trains(datagrams: Sequence[tuple[Buffer, Address]], *, offload: bool) -> list[Train]:
    """Sort datagrams into trains, without changing their order.

    Raises ``LocalProtocolError`` if one is too large.
    """
    found: list[Train] = []
    train: list[Buffer] = []
    address = None
    size = room = 0
    for datagram, to in datagrams:
        length = len(datagram) if type(datagram) is bytes else size_of(datagram)
        if room and (to is address or to == address) and 0 < length <= size:
            train.append(datagram)
            room = room - 1 if length == size else 0
            continue
        check_size(length, MAX_DATAGRAM)
        address, size, train = to, length, [datagram]
        room = min(MAX_SEGMENTS, MAX_DATAGRAM // size) - 1 if offload and size else 0
        found.append(Train(train, size, to))
    return found


def probe(udp: socket.socket) -> Offloads:
    """Find out which trains the kernel carries, and switch on those of datagrams that arrive."""
    if not ON_LINUX:
        return Offloads(send=False, receive=False)
    return Offloads(
        send=_enable(udp, socket.IPPROTO_UDP, _UDP_SEGMENT, 0),
        receive=_enable(udp, socket.IPPROTO_UDP, _UDP_GRO, 1),
    )


def hear_refusals(udp: socket.socket) -> None:
    """Have the kernel keep what ICMP says about datagrams we sent, where it can."""
    if ON_LINUX:
        _enable(udp, socket.IPPROTO_IP, _IP_RECVERR, 1)
        if udp.family == socket.AF_INET6:
            _enable(udp, socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)


def take_refusals(udp: socket.socket) -> int:
    """How many datagrams ICMP has refused since the last call."""
    count = 0
    for _ in range(_MAX_ERRORS if ON_LINUX else 0):
        try:
            control = udp.recvmsg(0, _ERROR_BYTES, _MSG_ERRQUEUE)[1]
        except OSError:  # nothing more is there
            break
        count += any(_ERROR.unpack_from(value)[1] in _FROM_ICMP for _, _, value in control)
    return count


def send(udp: socket.socket, train: Train, target: Target) -> None:
    """Send a train with one call. Raises ``OSError``, and has sent nothing then."""
    if len(train.datagrams) == 1:
        udp.sendto(train.datagrams[0], target)
    else:
        control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT.pack(train.size))]
        udp.sendmsg(train.datagrams, control, 0, target)


def receive(udp: socket.socket, *, offload: bool) -> tuple[list[bytes], Target]:
    """Receive a train, or one datagram, and its source. Raises ``OSError``."""
    if not offload:
        data, source = udp.recvfrom(_READ_BYTES)
        return [data], source
    data, control, _, source = udp.recvmsg(_READ_BYTES, _CONTROL_BYTES)
    for level, kind, value in control:
        if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
            size = _GRO_SIZE.unpack(value)[0]
            if 0 < size < len(data):
                return [data[at : at + size] for at in range(0, len(data), size)], source
    return [data], source


def _enable(udp: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        udp.setsockopt(level, option, value)
    except OSError:
        return False
    return True
