"""One key offer: a pilgrim's announcement of its traffic key (protocol section 12.4).

As an exchange offer (``offers``), each has its own key from the seed in its header, under another
label. The header's SPI is that of the announced key; its flocks are noise.
"""

from __future__ import annotations

import dataclasses
import struct

from chancel.crypto.kdf import OfferKind
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.sealing import open_offer_untrusted, seal_offer
from chancel.wire.drop import Drop
from chancel.wire.offer import (
    CURRENT,
    DATA_BYTES,
    EXTRA_BYTES,
    SEED_BYTES,
    KeyBody,
    OfferData,
    OfferHeader,
    OfferLayout,
)
from chancel.wire.types import Buffer, FlockId, Flocks, Spi

_FLOCKS = struct.Struct("!QQ")
_EXTRA_AT = SEED_BYTES + _FLOCKS.size
_FRESH_BYTES = _EXTRA_AT + EXTRA_BYTES
"""What is new in each packet, drawn at once: seed, flocks to show, and ``extra``."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyOffer:
    """An authentic key offer. ``timestamp`` is the sender's wall clock in whole seconds."""

    timestamp: int
    spi: Spi
    body: KeyBody


def seal_key_offer(
    suite: Suite, base: Buffer, offer: KeyOffer, layout: OfferLayout = CURRENT
) -> bytes:
    """Return the bytes of one announcement; ``base`` is for ``PEER_OFFER`` and no flocks."""
    fresh = suite.random(_FRESH_BYTES)
    seed, shown, extra = fresh[:SEED_BYTES], fresh[SEED_BYTES:_EXTRA_AT], fresh[_EXTRA_AT:]
    own, peer = _FLOCKS.unpack(shown)
    header = OfferHeader(offer.spi, Flocks(FlockId(own), FlockId(peer)), seed)
    plaintext = OfferData(offer.timestamp, offer.body).encode() + extra[: layout.extra_bytes]
    return seal_offer(suite, OfferKind.PILGRIM, base, header, plaintext, layout)


def open_key_offer_untrusted(
    suite: Suite, base: Buffer, datagram: Buffer, layout: OfferLayout = CURRENT
) -> KeyOffer:
    """Open a datagram of exactly one size; time is not judged, nor whether the SPI is new.

    Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``OFFER_TOO_LONG``, ``OFFER_ZERO_SPI``,
    ``OFFER_BAD_TAG``, ``OFFER_TYPE``, ``RESERVED_NOT_ZERO``.
    """
    if len(datagram) > layout.offer_bytes:
        raise RemoteProtocolError(Drop.OFFER_TOO_LONG)
    header = layout.decode_untrusted(datagram)
    if header.spi == 0:
        raise RemoteProtocolError(Drop.OFFER_ZERO_SPI)
    plaintext = open_offer_untrusted(suite, OfferKind.PILGRIM, base, header, datagram, layout)
    data = OfferData.decode_untrusted(plaintext[:DATA_BYTES])
    if not isinstance(data.body, KeyBody):
        raise RemoteProtocolError(Drop.OFFER_TYPE)
    return KeyOffer(data.timestamp, header.spi, data.body)
