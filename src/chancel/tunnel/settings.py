"""From what a program asks for to what the protocol is told; what can't be is refused at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from chancel.errors import LocalProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.encapsulation import HEADER_BYTES as ENCAPSULATION_BYTES
from chancel.protocol.session import SessionSettings
from chancel.protocol.shroud import SHROUD_BYTES
from chancel.vault.files import SECRET_BYTES, SecretFile
from chancel.vault.secret import Secret
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.types import Buffer

ETHERNET_BYTES = 1500
"""The largest IP packet on an Ethernet."""
IPV6_EXTRA_BYTES = 20
"""By how much a header of IPv6 is longer than one of IPv4."""


def secret_source(secret: Secret | Path | Buffer | SecretSource) -> SecretSource:
    """Where the secret comes from. A path is read at each use, bytes are copied.

    Raises ``LocalProtocolError`` for a secret of another length than 32 bytes.
    """
    if isinstance(secret, Path):
        return SecretFile(secret)
    if isinstance(secret, bytes | bytearray | memoryview):
        secret = Secret(secret)
    if not isinstance(secret, Secret):
        if not callable(secret):
            raise LocalProtocolError(
                f"{type(secret).__name__} is no secret: give a Secret, 32 bytes, a Path, or a"
                " function that loads one"
            )
        return secret
    if len(secret) != SECRET_BYTES:
        raise LocalProtocolError(
            f"a shared secret has {SECRET_BYTES} bytes, not {len(secret)}: make one with"
            f" secrets.token_bytes({SECRET_BYTES})"
        )
    kept = secret
    return lambda: kept


def complete(settings: SessionSettings, mtu: int | None, max_datagram: int) -> SessionSettings:
    """The settings with their MTU: this one, or the largest that fits carrier and Ethernet.

    Raises ``LocalProtocolError`` for settings that contradict each other or the carrier.
    """
    limit = _mtu_limit(settings, max_datagram)
    if mtu is None:
        mtu = min(limit, _ethernet_mtu(settings))
    chosen = dataclasses.replace(settings, mtu=mtu)
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
