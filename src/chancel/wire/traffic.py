"""The traffic packet: a header in clear, ciphertext of payload and tail, a 16-byte tag.

Protocol section 3. A :class:`TrafficLayout` says how one version of the protocol lays out the
header and which part of it is the packet's associated data; the rest is the same in all.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import NO_FLOCKS, Buffer, FlockId, Flocks, Salt, Spi

TAIL_BYTES: Final = 2
TAG_BYTES: Final = 16

NEXT_INNER: Final = 0x00
"""The payload is an inner packet: IP on a TUN device, an Ethernet frame on a TAP device."""
NEXT_GRACE: Final = 0xFC
"""The payload is a grace, a control message inside the tunnel (:mod:`chancel.wire.grace`)."""

FIRST_PACKET_NUMBER: Final = 1

_NUMBERS = struct.Struct("!IQ")
_NONCE = struct.Struct("!4sQ")
_FLOCKS = struct.Struct("!QQ")
_LOW_32 = 0xFFFF_FFFF


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficHeader:
    """SPI, packet number and the two flocks as their *sender* sees them (section 3.1).

    The receiver's flocks are these two swapped.
    """

    spi: Spi
    packet_number: int
    flocks_own: FlockId = NO_FLOCKS.own
    flocks_peer: FlockId = NO_FLOCKS.peer

    @property
    def sequence(self) -> int:
        """The low 32 bits of the packet number, which the header repeats."""
        return self.packet_number & _LOW_32


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficLayout:
    """How one version lays out a traffic packet's header, and what of it the tag covers.

    A header is ``spi be32 | sequence be32 | packet number be64``, then the sender's flocks if it
    shows them, be64 each.
    """

    header: struct.Struct
    shows_flocks: bool
    sequence_authenticated: bool
    """Whether the associated data is the whole header as transmitted. If not, it is SPI and packet
    number, 12 bytes, and the sequence is only compared."""

    header_bytes: int = dataclasses.field(init=False)
    """Size of the header."""
    overhead_bytes: int = dataclasses.field(init=False)
    """By how much a datagram is longer than its payload."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "header_bytes", self.header.size)
        object.__setattr__(self, "overhead_bytes", self.header.size + TAIL_BYTES + TAG_BYTES)

    def encode(self, header: TrafficHeader) -> bytes:
        """Return the header's bytes; ``LocalProtocolError`` if a number doesn't fit."""
        flocks = (header.flocks_own, header.flocks_peer) if self.shows_flocks else ()
        try:
            return self.header.pack(header.spi, header.sequence, header.packet_number, *flocks)
        except struct.error as error:
            raise LocalProtocolError(f"a traffic header can't hold {header}: {error}") from error

    def flock_bytes(self, flocks: Flocks) -> bytes:
        """A header's bytes from 16 on, where the sender has these flocks."""
        return _FLOCKS.pack(*flocks) if self.shows_flocks else b""

    def decode_untrusted(self, datagram: Buffer) -> TrafficHeader:
        """Read the header of a whole datagram. Flocks that it doesn't show are 0.

        Raises ``RemoteProtocolError``: ``TOO_SHORT`` (header alone included), ``ZERO_SPI``,
        ``SEQUENCE_MISMATCH``, ``OFFER_TOO_SHORT`` (the same, under an offer's magic).
        """
        if len(datagram) < self.overhead_bytes:
            raise RemoteProtocolError(Drop.TOO_SHORT)
        spi, sequence, packet_number, *flocks = self.header.unpack_from(datagram)
        if spi == 0:
            raise RemoteProtocolError(Drop.ZERO_SPI)
        if sequence != packet_number & _LOW_32:
            marked = datagram[: len(MAGIC)] == MAGIC
            raise RemoteProtocolError(Drop.OFFER_TOO_SHORT if marked else Drop.SEQUENCE_MISMATCH)
        return TrafficHeader(spi, packet_number, *flocks)

    def associated_data(self, header: Buffer) -> Buffer:
        """What the tag of the packet with this encoded header covers beside the text."""
        return header if self.sequence_authenticated else bytes(header[:4]) + header[8:16]

    def associated_data_of_all(self, headers: Sequence[Buffer]) -> Iterable[Buffer]:
        """:meth:`associated_data` of many packets, one by one as they are asked for; the current
        version's costs nothing."""
        return headers if self.sequence_authenticated else map(self.associated_data, headers)


CURRENT: Final = TrafficLayout(
    struct.Struct("!IIQQQ"), shows_flocks=True, sequence_authenticated=True
)
LEGACY: Final = TrafficLayout(
    struct.Struct("!IIQ"), shows_flocks=False, sequence_authenticated=False
)
"""That of release 0.9.20 (section 15)."""

HEADER_BYTES: Final = CURRENT.header_bytes
OVERHEAD_BYTES: Final = CURRENT.overhead_bytes


def numbered(header: bytes, packet_number: int) -> bytes:
    """Return this header with another packet number; the rest is the same for all of a key."""
    numbers = _NUMBERS.pack(packet_number & _LOW_32, packet_number)
    return b"".join((header[:4], numbers, header[16:]))


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
