"""Offers: the reference's own packets, and properties of the layout (protocol section 4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire import offer
from chancel.wire.drop import Drop
from chancel.wire.offer import (
    ExchangeBody,
    KeyBody,
    OfferData,
    OfferHeader,
    OfferLayout,
    OfferState,
)
from chancel.wire.types import NO_FLOCKS, FlockId, Flocks, InstanceId, Salt, SessionKey, Spi

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "offer.json").read_text())

LAYOUTS = offer.CURRENT, offer.LEGACY
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=["current", "0.9"])

u64 = st.integers(0, 2**64 - 1)
spis = st.integers(1, 2**32 - 1).map(Spi)
flocks = st.builds(Flocks, u64.map(FlockId), u64.map(FlockId))


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


headers = st.builds(OfferHeader, spi=spis, flocks=flocks, seed=exactly(64))
exchange_bodies = st.builds(
    ExchangeBody,
    id=u64.map(InstanceId),
    spi=spis,
    salt=exactly(4).map(Salt),
    state=st.sampled_from(OfferState),
    fragment=st.integers(0, 3),
    ecdh=exactly(32),
    kem=exactly(392),
)
key_bodies = st.builds(
    KeyBody, id=u64.map(InstanceId), salt=exactly(4).map(Salt), key=exactly(32).map(SessionKey)
)
datas = st.builds(OfferData, timestamp=u64, body=exchange_bodies | key_bodies)
junk = st.binary(max_size=500) | st.builds(
    bytes.__add__, st.sampled_from((b"\x01", b"\x06")), exactly(450)
)

EXCHANGE = OfferData(
    1_760_000_000,
    ExchangeBody(
        InstanceId(7), Spi(9), Salt(b"salt"), OfferState.PK, 3, b"e" * 32, bytes(391) + b"k"
    ),
)
KEY = OfferData(5, KeyBody(InstanceId(7), Salt(b"salt"), SessionKey(b"k" * 32)))


def refused(data: bytes) -> Drop:
    with pytest.raises(RemoteProtocolError) as caught:
        OfferData.decode_untrusted(data)
    return caught.value.reason


@pytest.mark.parametrize("vector", VECTORS["offers"], ids=lambda vector: vector["name"])
def test_the_references_offers_are_read_and_written_alike(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["wire"])
    header = offer.CURRENT.decode_untrusted(wire)
    assert offer.CURRENT.encode(header).hex() == vector["header"] == vector["aad"]
    assert header.seed.hex() == vector["seed"]
    if int(vector["flock_src"], 16):
        assert header.flocks == (int(vector["flock_src"], 16), int(vector["flock_dst"], 16))
    assert offer.NONCE.hex() == vector["nonce"]
    assert len(wire) == vector["udp_payload_length"]

    plaintext = bytes.fromhex(vector["plaintext"])
    assert len(plaintext) == offer.PLAINTEXT_BYTES
    data = OfferData.decode_untrusted(plaintext[: offer.DATA_BYTES])
    assert data.encode() == plaintext[: offer.DATA_BYTES]
    assert data.timestamp == VECTORS["wall_clock"]
    assert isinstance(data.body, ExchangeBody)
    assert data.body.spi == header.spi
    assert data.body.state is OfferState.PK


def test_sizes_are_the_references() -> None:
    sizes = (VECTORS["sizeof_offer"], VECTORS["sizeof_header"], VECTORS["sizeof_data"])
    assert sizes == (offer.OFFER_BYTES, offer.HEADER_BYTES, offer.DATA_BYTES)


@layouts
@given(header=headers, more=st.integers(0, 900))
def test_headers_survive_the_wire_whatever_padding_follows(
    layout: OfferLayout, header: OfferHeader, more: int
) -> None:
    head = layout.encode(header)
    assert len(head) == layout.header_bytes
    datagram = head + bytes(layout.offer_bytes - len(head) + more)
    shown = Flocks(*header.flocks[: layout.flocks], *NO_FLOCKS[layout.flocks :])
    expected = OfferHeader(header.spi, shown, header.seed)
    assert layout.decode_untrusted(datagram) == expected


@given(datas)
def test_data_survives_the_wire(data: OfferData) -> None:
    encoded = data.encode()
    assert len(encoded) == offer.DATA_BYTES
    assert OfferData.decode_untrusted(memoryview(encoded)) == data


@layouts
@given(
    datagram=st.binary(max_size=700) | st.binary(max_size=700).map(lambda tail: offer.MAGIC + tail)
)
def test_any_bytes_are_a_header_or_refused(layout: OfferLayout, datagram: bytes) -> None:
    try:
        header = layout.decode_untrusted(datagram)
    except RemoteProtocolError:
        return
    assert layout.encode(header) == datagram[: layout.header_bytes]


@given(junk)
def test_any_bytes_are_data_or_refused(plaintext: bytes) -> None:
    try:
        data = OfferData.decode_untrusted(plaintext)
    except RemoteProtocolError:
        return
    assert data.encode() == plaintext


@layouts
@pytest.mark.parametrize("missing", [1, 530, 531])
def test_a_cut_offer_is_too_short(layout: OfferLayout, missing: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        layout.decode_untrusted(offer.MAGIC.ljust(layout.offer_bytes - missing, b"\0"))
    assert caught.value.reason is Drop.OFFER_TOO_SHORT


@layouts
def test_another_magic_is_no_offer(layout: OfferLayout) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        layout.decode_untrusted(b"KATEDRAL" + bytes(615))
    assert caught.value.reason is Drop.OFFER_TYPE


@pytest.mark.parametrize("size", [0, 450, 452])
def test_data_has_one_length(size: int) -> None:
    assert refused((EXCHANGE.encode() + b"\0")[:size]) is Drop.OFFER_TOO_SHORT


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"\x02", Drop.OFFER_TYPE),
        (17, bytes(4), Drop.OFFER_ZERO_SPI),
        (25, b"\x00", Drop.OFFER_STATE),
        (25, b"\x03", Drop.OFFER_STATE),
        (26, b"\x04", Drop.OFFER_FRAGMENT_RANGE),
        (26, b"\xff", Drop.OFFER_FRAGMENT_RANGE),
    ],
)
def test_a_field_out_of_range_is_named(offset: int, value: bytes, reason: Drop) -> None:
    data = bytearray(EXCHANGE.encode())
    data[offset : offset + len(value)] = value
    assert refused(bytes(data)) is reason


@pytest.mark.parametrize("offset", [53, 450])
def test_a_key_bodys_unused_bytes_are_zero(offset: int) -> None:
    data = bytearray(KEY.encode())
    data[offset] = 1
    assert refused(bytes(data)) is Drop.RESERVED_NOT_ZERO


def test_a_key_is_not_shown() -> None:
    assert "kkkk" not in repr(KEY)


@layouts
@pytest.mark.parametrize(
    "wrong", [OfferHeader(Spi(2**32), NO_FLOCKS, bytes(64)), OfferHeader(Spi(1), NO_FLOCKS, b"")]
)
def test_headers_that_dont_fit_are_not_written(layout: OfferLayout, wrong: OfferHeader) -> None:
    with pytest.raises(LocalProtocolError):
        layout.encode(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        OfferData(-1, EXCHANGE.body),
        OfferData(0, KeyBody(InstanceId(0), Salt(b"long."), SessionKey(bytes(32)))),
        OfferData(0, KeyBody(InstanceId(0), Salt(b"salt"), SessionKey(bytes(31)))),
    ],
)
def test_data_that_doesnt_fit_is_not_written(wrong: OfferData) -> None:
    with pytest.raises(LocalProtocolError):
        wrong.encode()
