"""The socket of a UDP port: made, bound, and its addresses in both spellings."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from functools import lru_cache

from chancel.errors import LocalProtocolError
from chancel.wire.types import Address

RECEIVE_BUFFER_BYTES = 4 << 20
"""What the kernel holds while our process sleeps: 20 ms at 200 MB/s. It may grant less."""

SEND_BUFFER_BYTES = 1 << 20
"""Several trains. More would only add to the time that a datagram waits behind others."""

MAX_ADDRESSES = 4096
"""Conversions of addresses to remember; whoever talks to more pays a microsecond for each."""

ON_LINUX = sys.platform == "linux"

Target = tuple[str, int] | tuple[str, int, int, int]
"""An address as the socket has it: host and port; with IPv6 a flow and a zone."""

_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG, _PMTUDISC_DO = 10, 23, 62, 2
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_MAPPED = "::ffff:"
"""What an IPv6 socket writes before the address of an IPv4 host."""


def bind(local: Address, *, fragment: bool) -> socket.socket:
    """A non-blocking UDP socket at ``local``. Raises ``LocalProtocolError``."""
    ipv6 = ":" in local.host
    target = target_of(local, ipv6)
    try:
        udp = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        raise LocalProtocolError(_refusal(local, error)) from error
    try:
        udp.setblocking(False)
        if ipv6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, local.host != "::")
        if not fragment:
            _never_fragment(udp, ipv6)
        _grow(udp, socket.SO_RCVBUF, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        _grow(udp, socket.SO_SNDBUF, _SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
        udp.bind(target or local)
    except OSError as error:
        udp.close()
        raise LocalProtocolError(_refusal(local, error)) from error
    except LocalProtocolError:
        udp.close()
        raise
    return udp


@lru_cache(MAX_ADDRESSES)
def target_of(address: Address, ipv6: bool) -> Target | None:
    """What a socket of that family is told; ``None``: one of IPv4 can't reach an IPv6 address.

    To an IPv6 socket, IPv4 is a part of IPv6. Raises ``LocalProtocolError`` where the host isn't
    numeric: looking up a name would stop everything else.
    """
    host, _, zone = address.host.partition("%")
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        raise LocalProtocolError(
            f"{address.host!r} is not a numeric IP address: look the name up first"
        ) from None
    if not 0 <= address.port <= 0xFFFF:
        raise LocalProtocolError(f"there is no port {address.port}: give one up to 65535")
    if version == 4:
        return (_MAPPED + host, address.port, 0, 0) if ipv6 else (host, address.port)
    return (host, address.port, 0, _zone(zone)) if ipv6 else None


@lru_cache(MAX_ADDRESSES)
def address_of(source: Target) -> Address:
    """A source, or our own address, as the socket says it."""
    host = source[0].removeprefix(_MAPPED) if "." in source[0] else source[0]
    zone = source[3] if len(source) == 4 else 0
    return Address(f"{host}%{zone}" if zone else host, source[1])


def _zone(name: str) -> int:
    """The number of a network interface, which link-local addresses need."""
    if not name or name.isdecimal():
        return int(name or 0)
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise LocalProtocolError(
            f"there is no network interface {name!r}: name one that exists after the '%'"
        ) from None


def _never_fragment(udp: socket.socket, ipv6: bool) -> None:
    if not ON_LINUX:
        raise LocalProtocolError("this system is not told to leave datagrams whole: fragment=True")
    udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
    if ipv6:
        udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)
        udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)


def _grow(udp: socket.socket, option: int, forced: int, size: int) -> None:
    with contextlib.suppress(OSError):  # some systems refuse more than they grant
        udp.setsockopt(socket.SOL_SOCKET, option, size)
    if ON_LINUX:
        with contextlib.suppress(PermissionError):  # beyond the limit only as the machine's root
            udp.setsockopt(socket.SOL_SOCKET, forced, size)


def _refusal(local: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{local} is in use by another program: choose a free port, or 0 for any"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {local.host}: choose one of its own"
    if error.errno == errno.EAFNOSUPPORT:
        return f"this machine has no IPv6, so {local} can't be bound: choose an IPv4 address"
    return f"{local} can't be bound ({error.strerror}): choose another address"
