"""Fields that only messages of cathedrals have, in codings that only they have.

Most of these messages is big-endian; what is ``little`` here went onto the wire in the byte order
of the reference's machines (cathedral section 1.1). Addresses are IPv4 alone.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NewType

from chancel.errors import LocalProtocolError
from chancel.wire.offer import pack
from chancel.wire.types import Address, Spi

CathedralId = NewType("CathedralId", int)
"""32 bit, non-zero: names a client to its cathedrals, which hold the keys that belong to it."""

TunnelId = NewType("TunnelId", int)
"""16 bit: own device id, peer's device id. The two ends of a tunnel have them swapped."""

ADDRESS_BYTES: Final = 6

_LITTLE = struct.Struct("<I")
_ADDRESS = struct.Struct("!4sH")


def encode_little(value: int) -> bytes:
    """Return 4 bytes; ``LocalProtocolError`` if the value doesn't fit."""
    return pack(_LITTLE, value)


def decode_little(field: bytes) -> int:
    """Read exactly 4 bytes."""
    (value,) = _LITTLE.unpack(field)
    return int(value)


def encode_spi(spi: Spi | None) -> bytes:
    """Return 4 little-endian bytes, zero for none."""
    return encode_little(spi or 0)


def decode_spi(field: bytes) -> Spi | None:
    """Read exactly 4 little-endian bytes."""
    return Spi(decode_little(field)) or None


def encode_address(address: Address | None) -> bytes:
    """Return 6 bytes, zero for none.

    Raises ``LocalProtocolError`` unless it is an IPv4 address and a port that can be sent to.
    """
    if address is None:
        return bytes(ADDRESS_BYTES)
    try:
        # As strict as ipaddress, at a tenth of the cost: a cathedral writes thousands a second.
        packed = socket.inet_pton(socket.AF_INET, address.host)
    except (OSError, ValueError) as error:
        raise LocalProtocolError(
            f"cathedrals know IPv4 addresses only, not {address.host!r}"
        ) from error
    if not any(packed) or address.port == 0:
        raise LocalProtocolError(f"nothing can be sent to {address}: give None for no address")
    return pack(_ADDRESS, packed, address.port)


def decode_address(field: bytes) -> Address | None:
    """Read exactly 6 bytes; a host or a port of zero is no address."""
    packed, port = _ADDRESS.unpack(field)
    if not any(packed) or port == 0:
        return None
    return Address(socket.inet_ntop(socket.AF_INET, packed), port)
