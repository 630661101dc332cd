"""The reference's offers are opened with the derived key, and sealed again to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chancel.crypto import kdf
from chancel.crypto.kdf import OfferKind, Purpose
from chancel.crypto.system import SystemSuite
from chancel.wire import offer
from chancel.wire.offer import OfferData
from chancel.wire.types import FlockId, Flocks

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "offer.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["offers"], ids=lambda vector: vector["name"])
def test_offers(vector: dict[str, Any]) -> None:
    suite = SystemSuite()
    wire = bytes.fromhex(vector["wire"])
    sealed = wire[offer.HEADER_BYTES : offer.OFFER_BYTES]
    assert sealed.hex() == vector["ciphertext"] + vector["tag"]

    header = offer.CURRENT.decode_untrusted(wire)
    aad = offer.CURRENT.encode(header)
    flocks = Flocks(FlockId(int(vector["flock_src"], 16)), FlockId(int(vector["flock_dst"], 16)))
    base = kdf.base_key(suite, Purpose.PEER_OFFER, bytes.fromhex(vector["secret"]), flocks)
    key = kdf.offer_key(suite, OfferKind.EXCHANGE, base, header.seed)
    assert key.hex() == vector["offer_key"]

    aead = suite.aead(key)
    plaintext = aead.decrypt(offer.NONCE, sealed, aad)
    assert plaintext.hex() == vector["plaintext"]
    data = OfferData.decode_untrusted(plaintext[: offer.DATA_BYTES])
    again = data.encode() + plaintext[offer.DATA_BYTES :]
    assert aead.encrypt(offer.NONCE, again, aad) == sealed
