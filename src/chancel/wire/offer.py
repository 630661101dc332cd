"""The offer: one encrypted fragment of a key exchange, of one size (protocol section 4).

::

    header (92)      in clear, the associated data:
                     magic 8 | flock own be64 | flock peer be64 | spi be32 | seed 64
    data   (451)     encrypted: type 1 | timestamp be64 | body 442
    extra  (64)      encrypted: random; an exchange's first 16 bytes are its fixed random value
    tag    (16)

These are 623 bytes; release 0.9.20 (section 15) has one flock and no extra, which leaves 551: an
:class:`OfferLayout` says which. What follows is padding that nobody authenticates (section 12.1)
and is ignored.

Here are the bodies of offers between peers. To and from a cathedral, a discovery and relay server,
go offers with the magics and bodies of ``cathedral``.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Mapping
from typing import ClassVar, Final, Protocol, Self, TypeVar

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Buffer, Flocks, InstanceId, Salt, SessionKey, Spi

MAGIC: Final = b"SACRAMNT"
SEED_BYTES: Final = 64
DATA_BYTES: Final = 451
TAG_BYTES: Final = 16
RANDOM_BYTES: Final = 16
"""The exchange's fixed random value, at the head of an exchange offer's extra bytes."""
FRAGMENTS: Final = 4
FRAGMENT_BYTES: Final = 392
"""Four of them are one ML-KEM-1024 encapsulation key or ciphertext: 1568 bytes."""
NONCE: Final = bytes(11) + b"\x01"
"""Fixed, and safe only because each offer's seed, and so its key, is new."""

_PREFIX = struct.Struct("!BQ")
_EXCHANGE = struct.Struct("!QI4sBB32s392s")
_KEY = struct.Struct("!Q4s32s")

BODY_BYTES: Final = DATA_BYTES - _PREFIX.size
"""What the largest body takes, an exchange's."""


@dataclasses.dataclass(frozen=True, slots=True)
class OfferHeader:
    """The clear head of an offer.

    ``flocks`` are those of the sender, or 2 x 64 random bits when its own flock is 0; a peer
    doesn't look at them. ``seed`` makes this packet's key and must never be used twice.
    """

    spi: Spi
    flocks: Flocks
    seed: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class OfferLayout:
    """What of an offer differs between versions of the protocol, and between whom it is for."""

    header: struct.Struct
    """Magic, flocks, SPI and seed."""
    flocks: int
    """How many of the sender's flocks the header shows: both, or its own alone."""
    extra_bytes: int
    """Random bytes behind the data; the first of them are an exchange's fixed random value."""
    magic: bytes = MAGIC

    @property
    def header_bytes(self) -> int:
        """Size of the clear head, all of which is authenticated."""
        return self.header.size

    @property
    def plaintext_bytes(self) -> int:
        """Size of data and extra."""
        return DATA_BYTES + self.extra_bytes

    @property
    def offer_bytes(self) -> int:
        """Size of the whole, without padding."""
        return self.header.size + DATA_BYTES + self.extra_bytes + TAG_BYTES

    def encode(self, header: OfferHeader) -> bytes:
        """Return the head's bytes; ``LocalProtocolError`` if a value doesn't fit."""
        require_size("seed", header.seed, SEED_BYTES)
        return pack(self.header, self.magic, *header.flocks[: self.flocks], header.spi, header.seed)

    def decode_untrusted(self, datagram: Buffer) -> OfferHeader:
        """Read the head of a whole datagram, padded or not. A flock that it doesn't show is 0.

        Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``OFFER_TYPE`` (another magic). Any SPI
        is let through: exchanges don't look at it.
        """
        if len(datagram) < self.offer_bytes:
            raise RemoteProtocolError(Drop.OFFER_TOO_SHORT)
        magic, *flocks, spi, seed = self.header.unpack_from(datagram)
        if magic != self.magic:
            raise RemoteProtocolError(Drop.OFFER_TYPE)
        return OfferHeader(spi, Flocks(*flocks, *NO_FLOCKS[self.flocks :]), seed)


CURRENT: Final = OfferLayout(struct.Struct("!8sQQI64s"), flocks=2, extra_bytes=64)
LEGACY: Final = OfferLayout(struct.Struct("!8sQI64s"), flocks=1, extra_bytes=0)
"""That of release 0.9.20."""

HEADER_BYTES: Final = CURRENT.header_bytes
EXTRA_BYTES: Final = CURRENT.extra_bytes
PLAINTEXT_BYTES: Final = CURRENT.plaintext_bytes
OFFER_BYTES: Final = CURRENT.offer_bytes


class OfferState(enum.IntEnum):
    """Which of its two ML-KEM values an exchange offer has a fragment of."""

    PK = 1
    """The encapsulation key of the sender's own exchange."""
    CT = 2
    """The ciphertext that answers the receiver's encapsulation key."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangeBody:
    """Body of an exchange offer. SPI and salt are the receiver's own ones in a CT fragment.

    Sizes: ``salt`` 4, ``ecdh`` (an X25519 public key) 32, ``kem`` 392 bytes; ``fragment`` 0 to 3.
    """

    TYPE: ClassVar[int] = 6
    id: InstanceId
    spi: Spi
    salt: Salt
    state: OfferState
    fragment: int
    ecdh: bytes
    kem: bytes

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        require_size("salt", self.salt, 4)
        require_size("ecdh", self.ecdh, 32)
        require_size("kem", self.kem, FRAGMENT_BYTES)
        return pack(
            _EXCHANGE,
            self.id,
            self.spi,
            self.salt,
            self.state,
            self.fragment,
            self.ecdh,
            self.kem,
        )

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> ExchangeBody:
        """Read the 442 bytes at ``offset``.

        Raises ``RemoteProtocolError``: ``OFFER_ZERO_SPI``, ``OFFER_STATE``,
        ``OFFER_FRAGMENT_RANGE``.
        """
        id_, spi, salt, state, fragment, ecdh, kem = _EXCHANGE.unpack_from(data, offset)
        if spi == 0:
            raise RemoteProtocolError(Drop.OFFER_ZERO_SPI)
        if state not in (OfferState.PK, OfferState.CT):
            raise RemoteProtocolError(Drop.OFFER_STATE)
        if fragment >= FRAGMENTS:
            raise RemoteProtocolError(Drop.OFFER_FRAGMENT_RANGE)
        return cls(InstanceId(id_), Spi(spi), Salt(salt), OfferState(state), fragment, ecdh, kem)


@dataclasses.dataclass(frozen=True, slots=True)
class KeyBody:
    """Body of a key offer: the traffic key itself, sent by a pilgrim (a one-way sender).

    ``salt`` has 4 bytes, ``key`` 32; the key's SPI is the one in the offer's header.
    """

    TYPE: ClassVar[int] = 1
    id: InstanceId
    salt: Salt
    key: SessionKey = dataclasses.field(repr=False)

    def encode(self) -> bytes:
        """Return the 442 bytes, zero after the key; ``LocalProtocolError`` if a value misfits."""
        require_size("salt", self.salt, 4)
        require_size("key", self.key, 32)
        return pack(_KEY, self.id, self.salt, self.key).ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> KeyBody:
        """Read the 442 bytes at ``offset``; ``RESERVED_NOT_ZERO`` unless they end in zeros."""
        id_, salt, key = _KEY.unpack_from(data, offset)
        if any(data[offset + _KEY.size :]):
            raise RemoteProtocolError(Drop.RESERVED_NOT_ZERO)
        return cls(InstanceId(id_), Salt(salt), SessionKey(key))


Body = ExchangeBody | KeyBody


@dataclasses.dataclass(frozen=True, slots=True)
class OfferData:
    """The encrypted data: when it was made (wall clock, whole seconds since 1970) and a body."""

    timestamp: int
    body: Body

    def encode(self) -> bytes:
        """Return the 451 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        return encode_data(self.timestamp, self.body)

    @classmethod
    def decode_untrusted(cls, data: Buffer) -> OfferData:
        """Read exactly 451 decrypted bytes. The timestamp is returned, not judged.

        Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT`` (any other length), ``OFFER_TYPE``, and
        what the body's own decoder raises.
        """
        return cls(*decode_data_untrusted(data, _BODIES))


_BODIES: Final[dict[int, type[Body]]] = {
    ExchangeBody.TYPE: ExchangeBody,
    KeyBody.TYPE: KeyBody,
}


class AnyBody(Protocol):
    """What is said in an offer's data, of whatever type."""

    TYPE: ClassVar[int]

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        ...

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> Self:
        """Read the 442 bytes at ``offset``; raises ``RemoteProtocolError``."""
        ...


B = TypeVar("B", bound=AnyBody)


def encode_data(timestamp: int, body: AnyBody) -> bytes:
    """Return the 451 bytes; ``LocalProtocolError`` if a value doesn't fit."""
    return pack(_PREFIX, body.TYPE, timestamp) + body.encode()


def decode_data_untrusted(data: Buffer, bodies: Mapping[int, type[B]]) -> tuple[int, B]:
    """Read exactly 451 decrypted bytes: timestamp and a body of one of these types.

    Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT`` (any other length), ``OFFER_TYPE``, and what
    the body's own decoder raises.
    """
    if len(data) != DATA_BYTES:
        raise RemoteProtocolError(Drop.OFFER_TOO_SHORT)
    type_, timestamp = _PREFIX.unpack_from(data)
    body = bodies.get(type_)
    if body is None:
        raise RemoteProtocolError(Drop.OFFER_TYPE)
    return timestamp, body.decode_untrusted(data, _PREFIX.size)


def require_size(name: str, value: bytes, size: int) -> None:
    """Raise ``LocalProtocolError`` unless a field has its size."""
    # struct would pad or cut without a word.
    if len(value) != size:
        raise LocalProtocolError(f"{name} of an offer has {size} bytes, not {len(value)}")


def pack(layout: struct.Struct, *values: int | bytes) -> bytes:
    """Return the packed values; ``LocalProtocolError`` if one doesn't fit."""
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise LocalProtocolError(f"a value doesn't fit its field of an offer: {error}") from error
