"""One exchange offer: sealing and opening (protocol sections 4.2 and 4.3).

Its key comes from the seed in its header (``sealing``): so every packet, retransmissions included,
is made here anew with a new seed.
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
    RANDOM_BYTES,
    SEED_BYTES,
    ExchangeBody,
    OfferData,
    OfferHeader,
    OfferLayout,
)
from chancel.wire.types import Buffer, FlockId, Flocks, Spi

_FLOCKS = struct.Struct("!QQ")
_PADDING_AT = SEED_BYTES + _FLOCKS.size
_FRESH_BYTES = _PADDING_AT + EXTRA_BYTES - RANDOM_BYTES
"""What is new in each packet, drawn at once: seed, flocks to show, and the rest of ``extra``."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangeOffer:
    """An authentic exchange offer.

    ``timestamp`` is the sender's wall clock in whole seconds, ``spi`` that of its header: its
    sender's own, while ``body.spi`` of a ciphertext fragment is the receiver's. ``random`` is empty
    where the layout has no extra bytes.
    """

    timestamp: int
    spi: Spi
    body: ExchangeBody
    random: bytes


def seal_exchange_offer(
    suite: Suite,
    base: Buffer,
    flocks: Flocks,
    spi: Spi,
    data: OfferData,
    random: bytes,
    layout: OfferLayout = CURRENT,
) -> bytes:
    """Return the bytes of one offer.

    ``base`` is the base key for ``PEER_OFFER``, ``spi`` goes into the header, ``random`` has the 16
    bytes that are fixed for the sender's exchange.
    """
    fresh = suite.random(_FRESH_BYTES)
    seed, shown, padding = fresh[:SEED_BYTES], fresh[SEED_BYTES:_PADDING_AT], fresh[_PADDING_AT:]
    header = OfferHeader(spi, _shown(flocks, shown), seed)
    plaintext = data.encode() + (random + padding)[: layout.extra_bytes]
    return seal_offer(suite, OfferKind.EXCHANGE, base, header, plaintext, layout)


def open_exchange_offer_untrusted(
    suite: Suite, base: Buffer, datagram: Buffer, layout: OfferLayout = CURRENT
) -> ExchangeOffer:
    """Open a datagram; neither time nor sender are judged.

    Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``OFFER_BAD_TAG``, ``OFFER_TYPE``,
    ``OFFER_ZERO_SPI``, ``OFFER_STATE``, ``OFFER_FRAGMENT_RANGE``.
    """
    header = layout.decode_untrusted(datagram)
    plaintext = open_offer_untrusted(suite, OfferKind.EXCHANGE, base, header, datagram, layout)
    data = OfferData.decode_untrusted(plaintext[:DATA_BYTES])
    if not isinstance(data.body, ExchangeBody):
        raise RemoteProtocolError(Drop.OFFER_TYPE)
    random = plaintext[DATA_BYTES : DATA_BYTES + RANDOM_BYTES]
    return ExchangeOffer(data.timestamp, header.spi, data.body, random)


def _shown(flocks: Flocks, noise: bytes) -> Flocks:
    """The flocks as the header shows them: noise, where there is no flock."""
    if flocks.own:
        return flocks
    own, peer = _FLOCKS.unpack(noise)
    return Flocks(FlockId(own), FlockId(peer))
