"""The kinds of value a configuration file holds: one function for each, from text to a typed value.

All raise :class:`Refused` for text that is not such a value. Where the sanctum daemon is lenient by
accident (a port of 70000, a prefix length of 256) they are strict; where its files may depend on
its leniency (hexadecimal numbers are read as by C's ``scanf``) they follow it.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from chancel.daemon.config_lines import quoted
from chancel.daemon.config_types import Network, Place
from chancel.wire.types import Address

MAX_WORD_CHARS = 31
"""Names of users, processes and descriptions; the daemon's files never hold longer ones."""

_HEX = re.compile(r"([+-]?)(?:0[xX])?([0-9a-fA-F]+)")
_WORD = re.compile(r"[A-Za-z0-9-]+")
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_MAX_NAME_CHARS = 253
_NUMBERS_ONLY = re.compile(r"[0-9.]+")
_DECIMAL = re.compile(r"[0-9]{1,10}")
_WIDEST = (1 << 64) - 1


class Refused(Exception):  # noqa: N818 - internal: becomes a ConfigError with its place
    """Text that is not the value a directive wants; the message says what was expected."""


def word(text: str, limit: int, what: str) -> str:
    """Letters, digits and ``-``, at most ``limit`` of them; ``what`` names it in the error."""
    if not _WORD.fullmatch(text):
        raise Refused(f"{quoted(text)} is no {what} (expected letters, digits and '-')")
    if len(text) > limit:
        raise Refused(f"{quoted(text)} is too long (expected at most {limit} characters)")
    return text


def choice(text: str, yes: str, no: str) -> bool:
    """One of two words."""
    if text not in {yes, no}:
        raise Refused(f"{quoted(text)} is unknown (expected {yes} or {no})")
    return text == yes


def decimal(text: str, lowest: int, highest: int) -> int:
    """A decimal number in a range."""
    if not _DECIMAL.fullmatch(text) or not lowest <= int(text) <= highest:
        raise Refused(f"{quoted(text)} is out of range (expected {lowest} to {highest})")
    return int(text)


def hexadecimal(text: str, bits: int) -> int:
    """A hexadecimal number as C's ``scanf`` reads it into ``bits`` bits.

    ``0x`` is optional, what follows the digits is ignored, and a wider value keeps its low bits.
    """
    match = _HEX.match(text)
    if match is None:
        raise Refused(f"{quoted(text)} is no number (expected a {bits}-bit hexadecimal number)")
    number = min(int(match[2], 16), _WIDEST)
    return (-number if match[1] == "-" else number) & ((1 << bits) - 1)


def ipv4(text: str) -> IPv4Address:
    """A dotted IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise Refused(f"{quoted(text)} is no IPv4 address (expected 192.0.2.1)") from None


def ipv6(text: str) -> IPv6Address:
    """An IPv6 address without a zone."""
    try:
        found = IPv6Address(text)
    except ValueError:
        raise Refused(f"{quoted(text)} is no IPv6 address (expected 2001:db8::1)") from None
    if found.scope_id is not None:
        raise Refused(f"{quoted(text)} names an interface (expected a global address)")
    return found


def address(text: str) -> Address:
    """``ip:port``, or ``[ip]:port`` for IPv6; an empty port is 0."""
    if text.startswith("["):
        host, colon, port = text[1:].partition("]:")
        parsed = str(ipv6(host)) if colon else ""
    else:
        host, colon, port = text.partition(":")
        parsed = str(ipv4(host)) if colon else ""
    if not colon:
        raise Refused(f"{quoted(text)} has no port (expected ip:port, or [ip]:port)")
    return Address(parsed, decimal(port, 0, 0xFFFF) if port else 0)


def place(text: str) -> Place:
    """``host:port``: a name or an IPv4 address, and a port's number or the name of its service."""
    host, colon, port = text.partition(":")
    if not colon or not host or not port:
        raise Refused(f"{quoted(text)} is incomplete (expected HOST:PORT)")
    if _NUMBERS_ONLY.fullmatch(host):
        host = str(ipv4(host))
    elif not _NAME.fullmatch(host) or len(host) > _MAX_NAME_CHARS:
        raise Refused(f"{quoted(host)} is no name (expected that of a host, or an IPv4 address)")
    return Place(host, _service(port) if not port.isdigit() else decimal(port, 1, 0xFFFF))


def _service(name: str) -> int:
    try:
        return socket.getservbyname(name, "udp")
    except (OSError, UnicodeError, ValueError):
        raise Refused(f"port {quoted(name)} is unknown (expected 1 to 65535)") from None


def interface(text: str) -> IPv4Interface:
    """``ip/length``: an IPv4 address together with its network."""
    host, length = _slashed(text)
    return IPv4Interface((ipv4(host), decimal(length, 0, 32)))


def interface6(text: str) -> IPv6Interface:
    """``ip/length``: an IPv6 address together with its network."""
    host, length = _slashed(text)
    return IPv6Interface((ipv6(host), decimal(length, 0, 128)))


def network(text: str, *, strict: bool) -> Network:
    """``net/length``, IPv4 or IPv6; host bits are refused when ``strict``, cleared otherwise."""
    given = interface6(text) if ":" in text else interface(text)
    if strict and given.ip != given.network.network_address:
        raise Refused(f"{quoted(text)} has host bits set (expected {given.network})")
    return given.network


def _slashed(text: str) -> tuple[str, str]:
    host, slash, length = text.partition("/")
    if not slash:
        raise Refused(f"{quoted(text)} is missing a netmask (expected ip/length)")
    return host, length
