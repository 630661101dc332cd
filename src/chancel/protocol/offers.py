"""One offer packet: sealing and opening (protocol sections 4.2 and 4.3).

Each packet has its own key, derived from the seed in its header, and a fixed nonce: so every
packet, retransmissions included, is made here anew with a new seed.
"""

from __future__ import annotations

import dataclasses

from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf import OfferKind, offer_key
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.offer import (
    DATA_BYTES,
    EXTRA_BYTES,
    HEADER_BYTES,
    NONCE,
    OFFER_BYTES,
    RANDOM_BYTES,
    SEED_BYTES,
    ExchangeBody,
    OfferData,
    OfferHeader,
)
from chancel.wire.types import Buffer, FlockId, Flocks, Spi

_FLOCK_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangeOffer:
    """An authentic exchange offer.

    ``timestamp`` is the sender's wall clock in whole seconds, ``spi`` that of its header: its
    sender's own, while ``body.spi`` of a ciphertext fragment is the receiver's.
    """

    timestamp: int
    spi: Spi
    body: ExchangeBody
    random: bytes


def seal_exchange_offer(
    suite: Suite, base: Buffer, flocks: Flocks, spi: Spi, data: OfferData, random: bytes
) -> bytes:
    """Return the 623 bytes of one offer.

    ``base`` is the base key for ``PEER_OFFER``, ``spi`` goes into the header, ``random`` has the 16
    bytes that are fixed for the sender's exchange.
    """
    seed = suite.random(SEED_BYTES)
    header = OfferHeader(spi, _shown(suite, flocks), seed).encode()
    extra = random + suite.random(EXTRA_BYTES)[RANDOM_BYTES:]
    aead = suite.aead(offer_key(suite, OfferKind.EXCHANGE, base, seed))
    return header + aead.encrypt(NONCE, data.encode() + extra, header)


def open_exchange_offer_untrusted(suite: Suite, base: Buffer, datagram: Buffer) -> ExchangeOffer:
    """Open a datagram; neither time nor sender are judged.

    Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``OFFER_BAD_TAG``, ``OFFER_TYPE``,
    ``OFFER_ZERO_SPI``, ``OFFER_STATE``, ``OFFER_FRAGMENT_RANGE``.
    """
    header = OfferHeader.decode_untrusted(datagram)
    aead = suite.aead(offer_key(suite, OfferKind.EXCHANGE, base, header.seed))
    view = memoryview(datagram)
    try:
        plaintext = aead.decrypt(NONCE, view[HEADER_BYTES:OFFER_BYTES], view[:HEADER_BYTES])
    except InvalidTag:
        raise RemoteProtocolError(Drop.OFFER_BAD_TAG) from None
    data = OfferData.decode_untrusted(plaintext[:DATA_BYTES])
    if not isinstance(data.body, ExchangeBody):
        raise RemoteProtocolError(Drop.OFFER_TYPE)
    random = plaintext[DATA_BYTES : DATA_BYTES + RANDOM_BYTES]
    return ExchangeOffer(data.timestamp, header.spi, data.body, random)


def _shown(suite: Suite, flocks: Flocks) -> Flocks:
    """The flocks as the header shows them: noise, where there is no flock."""
    if flocks.own:
        return flocks
    own, peer = suite.random(_FLOCK_BYTES), suite.random(_FLOCK_BYTES)
    return Flocks(FlockId(int.from_bytes(own, "big")), FlockId(int.from_bytes(peer, "big")))
