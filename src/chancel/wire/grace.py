"""Graces: control messages inside the tunnel (protocol section 11).

The payload of a traffic packet whose next byte is ``NEXT_GRACE``: type and, but for a heartbeat,
size, each 16 bit and **little-endian**, the only little-endian fields of the protocol. A receiver
ignores what follows them.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Final

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer

_TYPE = struct.Struct("<H")
_TYPE_SIZE = struct.Struct("<HH")
_HEARTBEAT: Final = 1
_MTU_PROBE: Final = 2
_MTU_ACK: Final = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Heartbeat:
    """Says that its sender is alive: keeps paths open and shows the peer that its key is in use."""


@dataclasses.dataclass(frozen=True, slots=True)
class MtuProbe:
    """Asks whether a payload of ``size`` bytes arrives, by being one."""

    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class MtuAck:
    """Answers a probe with the size it named."""

    size: int


Grace = Heartbeat | MtuProbe | MtuAck


def encode(grace: Grace) -> bytes:
    """Return the payload: 2 bytes of a heartbeat, 4 of an ack, exactly ``size`` of a probe.

    Raises ``LocalProtocolError`` for a size that doesn't fit 16 bits, or a probe below 4 bytes.
    """
    match grace:
        case Heartbeat():
            return _TYPE.pack(_HEARTBEAT)
        case MtuProbe(size):
            if size < _TYPE_SIZE.size:
                raise LocalProtocolError(f"an MTU probe of {size} bytes can't hold its own size")
            return _pack(_MTU_PROBE, size).ljust(size, b"\0")
        case MtuAck(size):
            return _pack(_MTU_ACK, size)


def decode_untrusted(payload: Buffer) -> Grace:
    """Read a payload; the size is returned, not judged, and need not be the payload's length.

    Raises ``RemoteProtocolError``: ``GRACE_TOO_SHORT`` or ``GRACE_UNKNOWN``.
    """
    if len(payload) < _TYPE.size:
        raise RemoteProtocolError(Drop.GRACE_TOO_SHORT)
    (type_,) = _TYPE.unpack_from(payload)
    if type_ == _HEARTBEAT:
        return Heartbeat()
    if type_ not in (_MTU_PROBE, _MTU_ACK):
        raise RemoteProtocolError(Drop.GRACE_UNKNOWN)
    if len(payload) < _TYPE_SIZE.size:
        raise RemoteProtocolError(Drop.GRACE_TOO_SHORT)
    _, size = _TYPE_SIZE.unpack_from(payload)
    return MtuProbe(size) if type_ == _MTU_PROBE else MtuAck(size)


def _encode_legacy(grace: Grace) -> bytes:
    if not isinstance(grace, Heartbeat):
        raise LocalProtocolError("release 0.9 has no graces but heartbeats: give its MTU a number")
    return b""


def _decode_legacy_untrusted(_payload: Buffer) -> Grace:
    return Heartbeat()


def _pack(type_: int, size: int) -> bytes:
    try:
        return _TYPE_SIZE.pack(type_, size)
    except struct.error as error:
        raise LocalProtocolError(f"a grace's size has 16 bits: {size}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class GraceCodec:
    """How one version of the protocol writes graces and reads them."""

    encode: Callable[[Grace], bytes]
    decode_untrusted: Callable[[Buffer], Grace]


CURRENT: Final = GraceCodec(encode, decode_untrusted)
LEGACY: Final = GraceCodec(_encode_legacy, _decode_legacy_untrusted)
"""That of release 0.9.20 (section 15): a heartbeat is an empty payload, and any payload is one."""
