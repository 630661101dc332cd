"""Key offers: the reference's vector, and what strangers make of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.kdf import OfferKind, Purpose, base_key, offer_key
from chancel.crypto.system import SystemSuite
from chancel.errors import RemoteProtocolError
from chancel.protocol.key_offers import KeyOffer, open_key_offer_untrusted, seal_key_offer
from chancel.protocol.offers import seal_exchange_offer
from chancel.wire.drop import Drop
from chancel.wire.offer import (
    CURRENT,
    DATA_BYTES,
    NONCE,
    ExchangeBody,
    KeyBody,
    OfferData,
    OfferHeader,
    OfferState,
)
from chancel.wire.types import NO_FLOCKS, InstanceId, Salt, SessionKey, Spi

RECORD = json.loads((Path(__file__).parents[1] / "vectors" / "pilgrim.json").read_text())
VECTORS: list[dict[str, Any]] = RECORD["offers"]
SUITE = SystemSuite()
BASE = base_key(SUITE, Purpose.PEER_OFFER, bytes.fromhex(RECORD["secret"]), NO_FLOCKS)
KEY = KeyBody(
    InstanceId(int(RECORD["id"], 16)),
    Salt(bytes.fromhex(RECORD["sa"]["salt"])),
    SessionKey(bytes.fromhex(RECORD["sa"]["key"])),
)
OFFER = KeyOffer(RECORD["wall_clock"], Spi(int(RECORD["sa"]["spi"], 16)), KEY)


class RecordedSuite(SystemSuite):
    """Draws what is random in the reference's packet: seed, flocks to show, and the rest."""

    def __init__(self, vector: dict[str, Any]) -> None:
        super().__init__()
        header = bytes.fromhex(vector["header"])
        extra = bytes.fromhex(vector["plaintext"])[DATA_BYTES:]
        self._drawn = bytes.fromhex(vector["seed"]) + header[8:24] + extra

    def random(self, size: int) -> bytes:
        assert size == len(self._drawn)
        return self._drawn


@pytest.mark.parametrize("vector", VECTORS, ids=[each["name"] for each in VECTORS])
class TestVector:
    def test_the_offer_s_key(self, vector: dict[str, Any]) -> None:
        assert vector["label"] == OfferKind.PILGRIM.value.decode()
        key = offer_key(SUITE, OfferKind.PILGRIM, BASE, bytes.fromhex(vector["seed"]))
        assert key == bytes.fromhex(vector["offer_key"])
        assert bytes.fromhex(vector["nonce"]) == NONCE

    def test_seals_what_the_reference_sent(self, vector: dict[str, Any]) -> None:
        wire = seal_key_offer(RecordedSuite(vector), BASE, OFFER)
        assert wire == bytes.fromhex(vector["wire"])
        assert len(wire) == vector["udp_payload_length"]
        assert wire[:92] == bytes.fromhex(vector["aad"])
        assert wire[92:] == bytes.fromhex(vector["ciphertext"]) + bytes.fromhex(vector["tag"])

    def test_opens_what_the_reference_sent(self, vector: dict[str, Any]) -> None:
        assert open_key_offer_untrusted(SUITE, BASE, bytes.fromhex(vector["wire"])) == OFFER


@given(
    st.integers(0, 2**63),
    st.integers(1, 2**32 - 1),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=32, max_size=32),
)
def test_what_is_sealed_is_opened(timestamp: int, spi: int, salt: bytes, key: bytes) -> None:
    offer = KeyOffer(timestamp, Spi(spi), KeyBody(InstanceId(7), Salt(salt), SessionKey(key)))
    wire = seal_key_offer(SUITE, BASE, offer)
    assert open_key_offer_untrusted(SUITE, BASE, memoryview(wire)) == offer
    assert key not in wire


def refusal(datagram: bytes) -> Drop:
    with pytest.raises(RemoteProtocolError) as raised:
        open_key_offer_untrusted(SUITE, BASE, datagram)
    return raised.value.reason


def test_exactly_623_bytes() -> None:
    wire = seal_key_offer(SUITE, BASE, OFFER)
    assert refusal(wire[:-1]) is Drop.OFFER_TOO_SHORT
    assert refusal(wire + b"\0") is Drop.OFFER_TOO_LONG


def test_an_spi_of_zero_is_refused_where_the_reference_ends() -> None:
    zero = KeyOffer(OFFER.timestamp, Spi(0), KEY)
    assert refusal(seal_key_offer(SUITE, BASE, zero)) is Drop.OFFER_ZERO_SPI


@given(st.integers(0, 622), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, flip: int) -> None:
    wire = bytearray(seal_key_offer(SUITE, BASE, OFFER))
    wire[at] ^= flip
    expected = Drop.OFFER_TYPE if at < 8 else Drop.OFFER_BAD_TAG
    assert refusal(bytes(wire)) is expected


def test_an_exchange_offer_is_none_of_these() -> None:
    body = ExchangeBody(
        InstanceId(1), Spi(2), Salt(bytes(4)), OfferState.PK, 0, bytes(32), bytes(392)
    )
    data = OfferData(OFFER.timestamp, body)
    exchange = seal_exchange_offer(SUITE, BASE, NO_FLOCKS, Spi(2), data, bytes(16))
    assert refusal(exchange) is Drop.OFFER_BAD_TAG
    seed = bytes(64)
    header = CURRENT.encode(OfferHeader(Spi(2), NO_FLOCKS, seed))
    aead = SUITE.aead(offer_key(SUITE, OfferKind.PILGRIM, BASE, seed))
    relabelled = header + aead.encrypt(NONCE, data.encode() + bytes(64), header)
    assert refusal(relabelled) is Drop.OFFER_TYPE


@given(st.binary(max_size=700))
def test_a_stranger_s_datagram_is_refused(datagram: bytes) -> None:
    assert refusal(datagram).startswith("offer-")
