"""Seals and opens what an offer holds, whoever it is between (protocol sections 4.2 and 4.3).

Each packet has its own key, derived from the seed in its header, and a fixed nonce.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf import OfferKind, offer_key
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.offer import NONCE, OfferHeader, OfferLayout
from chancel.wire.types import Buffer


def seal_offer(
    suite: Suite,
    kind: OfferKind,
    base: Buffer,
    header: OfferHeader,
    plaintext: Buffer,
    layout: OfferLayout,
) -> bytes:
    """Return the bytes of one offer. ``plaintext`` is data and extra; the seed must be new."""
    head = layout.encode(header)
    aead = suite.aead(offer_key(suite, kind, base, header.seed))
    return head + aead.encrypt(NONCE, plaintext, head)


def open_offer_untrusted(
    suite: Suite,
    kind: OfferKind,
    base: Buffer,
    header: OfferHeader,
    datagram: Buffer,
    layout: OfferLayout,
) -> bytes:
    """Return data and extra of a datagram whose header was read from it.

    Raises ``RemoteProtocolError`` (``OFFER_BAD_TAG``). What follows the tag is not looked at.
    """
    aead = suite.aead(offer_key(suite, kind, base, header.seed))
    view, at = memoryview(datagram), layout.header_bytes
    try:
        return aead.decrypt(NONCE, view[at : layout.offer_bytes], view[:at])
    except InvalidTag:
        raise RemoteProtocolError(Drop.OFFER_BAD_TAG) from None
