"""The traffic packet: a 32-byte header in clear, ciphertext of payload and tail, a 16-byte tag.

Protocol section 3. The header is the packet's associated data, byte for byte as transmitted.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import Buffer, FlockId, Salt, Spi

HEADER_BYTES: Final = 32
TAIL_BYTES: Final = 2
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = HEADER_BYTES + TAIL_BYTES + TAG_BYTES
"""By how much a datagram is longer than its payload: 50."""

NEXT_INNER: Final = 0x00
"""The payload is an inner packet: IP on a TUN device, an Ethernet frame on a TAP device."""
NEXT_GRACE: Final = 0xFC
"""The payload is a grace, a control message inside the tunnel (:mod:`chancel.wire.grace`)."""

FIRST_PACKET_NUMBER: Final = 1

_HEADER = struct.Struct("!IIQQQ")
_NONCE = struct.Struct("!4sQ")
_LOW_32 = 0xFFFF_FFFF


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficHeader:
    """SPI, packet number and the two flocks as their *sender* sees them (section 3.1).

    The receiver's flocks are these two swapped. All integers are big-endian on the wire.
    """

    spi: Spi
    packet_number: int
    flocks_own: FlockId
    flocks_peer: FlockId

    @property
    def sequence(self) -> int:
        """The low 32 bits of the packet number, which the header repeats."""
        return self.packet_number & _LOW_32

    def encode(self) -> bytes:
        """Return the 32 bytes of the header; ``LocalProtocolError`` if a number doesn't fit."""
        try:
            return _HEADER.pack(
                self.spi, self.sequence, self.packet_number, self.flocks_own, self.flocks_peer
            )
        except struct.error as error:
            raise LocalProtocolError(f"a traffic header can't hold {self}: {error}") from error

    @classmethod
    def decode_untrusted(cls, datagram: Buffer) -> TrafficHeader:
        """Read the header of a whole datagram.

        Raises ``RemoteProtocolError``: ``TOO_SHORT`` (under 50 bytes, header alone included),
        ``ZERO_SPI``, ``SEQUENCE_MISMATCH``, ``OFFER_TOO_SHORT`` (the same, under an offer's magic).
        """
        if len(datagram) < OVERHEAD_BYTES:
            raise RemoteProtocolError(Drop.TOO_SHORT)
        spi, sequence, packet_number, own, peer = _HEADER.unpack_from(datagram)
        if spi == 0:
            raise RemoteProtocolError(Drop.ZERO_SPI)
        if sequence != packet_number & _LOW_32:
            marked = datagram[: len(MAGIC)] == MAGIC
            raise RemoteProtocolError(Drop.OFFER_TOO_SHORT if marked else Drop.SEQUENCE_MISMATCH)
        return cls(Spi(spi), packet_number, FlockId(own), FlockId(peer))


def nonce(salt: Salt, packet_number: int) -> bytes:
    """Return the 12-byte nonce: raw4 salt, then be64 packet number (section 3.2)."""
    return _NONCE.pack(salt, packet_number)


def add_tail(payload: Buffer, next_: int) -> bytes:
    """Return the plaintext to seal: payload, a reserved zero byte, ``next_`` (section 3.1)."""
    return b"".join((payload, bytes((0, next_))))


def split_tail_untrusted(plaintext: Buffer) -> tuple[bytes, int]:
    """Return (payload, next) of an authentic plaintext.

    Raises ``RemoteProtocolError``: ``TOO_SHORT``, ``RESERVED_NOT_ZERO``, ``UNKNOWN_NEXT``.
    """
    end = len(plaintext) - TAIL_BYTES
    if end < 0:
        raise RemoteProtocolError(Drop.TOO_SHORT)
    if plaintext[end] != 0:
        raise RemoteProtocolError(Drop.RESERVED_NOT_ZERO)
    next_ = plaintext[end + 1]
    if next_ not in (NEXT_INNER, NEXT_GRACE):
        raise RemoteProtocolError(Drop.UNKNOWN_NEXT)
    return bytes(plaintext[:end]), next_
