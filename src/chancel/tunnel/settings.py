"""From what a program asks for to what the protocol is told; what can't be is refused at once."""

from __future__ import annotations

import dataclasses

from chancel.errors import LocalProtocolError
from chancel.protocol.encapsulation import HEADER_BYTES as ENCAPSULATION_BYTES
from chancel.protocol.session import SessionSettings
from chancel.protocol.shroud import SHROUD_BYTES
from chancel.tunnel.cathedrals import Cathedrals
from chancel.wire.datagram import MAX_DATAGRAM_BYTES

ETHERNET_BYTES = 1500
"""The largest IP packet on an Ethernet."""
IPV6_EXTRA_BYTES = 20
"""By how much a header of IPv6 is longer than one of IPv4."""


def refuse_no_secret(secret: object | None, cathedral: Cathedrals | None) -> None:
    """Raise ``LocalProtocolError`` where a tunnel could never have a secret."""
    if secret is None and (cathedral is None or cathedral.kek is None):
        raise LocalProtocolError(
            "a tunnel needs a secret: 32 bytes that its peer has, too. Only a cathedral can hand"
            " one out, to a device with a KEK"
        )


def complete(settings: SessionSettings, mtu: int | None, max_datagram: int) -> SessionSettings:
    """The settings with their MTU: this one, or the largest that fits carrier and Ethernet.

    Raises ``LocalProtocolError`` for settings that contradict each other or the carrier.
    """
    limit = _mtu_limit(settings, max_datagram)
    if mtu is None:
        mtu = min(limit, _ethernet_mtu(settings))
    chosen = dataclasses.replace(settings, mtu=mtu).settled()
    _check(chosen, limit)
    return chosen


def _mtu_limit(settings: SessionSettings, max_datagram: int) -> int:
    mask = _mask_bytes(settings)
    least = settings.profile.layouts.offer.offer_bytes + mask
    if max_datagram < least:
        raise LocalProtocolError(
            f"messages of {max_datagram} bytes are too small for a tunnel, which needs {least}:"
            " take a link that cuts larger ones into pieces"
        )
    room = min(MAX_DATAGRAM_BYTES + mask, max_datagram) - overhead_bytes(settings)
    # What is above the largest Ethernet packet travels in fragments, as release 0.9.20 lets it.
    excess = max(0, settings.profile.mtu_maximum + settings.profile.overhead_bytes - ETHERNET_BYTES)
    return min(room, settings.profile.mtu_maximum, _ethernet_mtu(settings) + excess)


def _ethernet_mtu(settings: SessionSettings) -> int:
    """The MTU whose packets an Ethernet carries whole, with all that is around them."""
    peer = settings.peer
    ipv6 = IPV6_EXTRA_BYTES if peer is not None and ":" in peer.host else 0
    return ETHERNET_BYTES - settings.profile.overhead_bytes - _mask_bytes(settings) - ipv6


def overhead_bytes(settings: SessionSettings) -> int:
    """By how much a datagram is longer than its message."""
    return settings.profile.layouts.traffic.overhead_bytes + _mask_bytes(settings)


def _mask_bytes(settings: SessionSettings) -> int:
    """By how much a mask makes every datagram longer."""
    encapsulation = ENCAPSULATION_BYTES if settings.encapsulation is not None else 0
    return encapsulation + (SHROUD_BYTES if settings.shroud else 0)


def _check(settings: SessionSettings, limit: int) -> None:
    mtu, least = settings.mtu, settings.profile.mtu_minimum
    if not 1 <= mtu <= limit:
        raise LocalProtocolError(f"an MTU of {mtu} bytes can't be here: give 1 to {limit}")
    if settings.mtu_discovery and not settings.profile.probe_sizes:
        raise LocalProtocolError("this version finds out no MTU: leave mtu_discovery out")
    if settings.mtu_discovery and mtu < least:
        raise LocalProtocolError(
            f"an MTU is found out from {least} bytes on, not {mtu}: leave mtu_discovery out"
        )
    if settings.tfc and settings.mtu_discovery:
        raise LocalProtocolError("tfc fills to a fixed MTU: leave mtu_discovery out")
    if settings.shroud and settings.encapsulation is not None:
        raise LocalProtocolError("shroud and encapsulation are masks both: choose one")
