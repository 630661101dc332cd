"""Traffic packets: header, nonce and tail (protocol section 3)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.system import SystemSuite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire import grace, traffic
from chancel.wire.datagram import Kind, classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER, TrafficHeader, TrafficLayout
from chancel.wire.types import FlockId, Flocks, Salt, Spi

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "traffic.json").read_text())

LAYOUTS = traffic.CURRENT, traffic.LEGACY
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=["current", "0.9"])

u64 = st.integers(0, 2**64 - 1)
headers = st.builds(
    TrafficHeader,
    spi=st.integers(1, 2**32 - 1).map(Spi),
    packet_number=u64,
    flocks_own=u64.map(FlockId),
    flocks_peer=u64.map(FlockId),
)


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda vector: vector["name"])
def test_the_references_packets_are_built_and_opened_alike(vector: dict[str, Any]) -> None:
    header = TrafficHeader(
        Spi(int(vector["spi"], 16)),
        int(vector["pn"], 16),
        FlockId(int(vector["flock_src"], 16)),
        FlockId(int(vector["flock_dst"], 16)),
    )
    aad = traffic.CURRENT.encode(header)
    nonce = traffic.nonce(Salt(bytes.fromhex(vector["salt"])), header.packet_number)
    assert aad.hex() == vector["aad"]
    assert nonce.hex() == vector["nonce"]

    wire = bytes.fromhex(vector["wire"])
    assert len(wire) == vector["udp_payload_length"]
    assert classify_untrusted(wire) is Kind.TRAFFIC
    assert traffic.CURRENT.decode_untrusted(wire) == header

    # With traffic flow confidentiality the sender fills the payload with zeros up to the MTU.
    payload = bytes.fromhex(vector["payload"]).ljust(vector.get("tfc_tunnel_mtu", 0), b"\0")
    plaintext = traffic.add_tail(payload, vector["next"])
    aead = SystemSuite().aead(bytes.fromhex(vector["key"]))
    assert aad + aead.encrypt(nonce, plaintext, aad) == wire
    opened = aead.decrypt(nonce, wire[traffic.HEADER_BYTES :], aad)
    assert traffic.split_tail_untrusted(opened) == (payload, vector["next"])

    received = bytes.fromhex(vector["received"])
    assert len(received) == vector["received_length"]
    assert payload.startswith(received)
    if vector["next"] == NEXT_GRACE:
        sent = grace.decode_untrusted(payload)
        assert payload.startswith(grace.encode(sent))


@layouts
@given(header=headers, size=st.integers(0, 100))
def test_headers_survive_the_wire(layout: TrafficLayout, header: TrafficHeader, size: int) -> None:
    encoded = layout.encode(header)
    assert len(encoded) == layout.header_bytes
    datagram = encoded + bytes(layout.overhead_bytes - layout.header_bytes + size)
    if not layout.shows_flocks:
        header = TrafficHeader(header.spi, header.packet_number)
    assert layout.decode_untrusted(memoryview(datagram)) == header


@layouts
@given(datagram=st.binary(max_size=120))
def test_any_bytes_are_a_header_or_refused(layout: TrafficLayout, datagram: bytes) -> None:
    try:
        header = layout.decode_untrusted(datagram)
    except RemoteProtocolError:
        return
    assert layout.encode(header) == datagram[: layout.header_bytes]


@layouts
@given(header=headers)
def test_the_headers_end_is_what_shows_the_flocks(
    layout: TrafficLayout, header: TrafficHeader
) -> None:
    flocks = Flocks(header.flocks_own, header.flocks_peer)
    assert layout.encode(header)[16:] == layout.flock_bytes(flocks)


@given(headers)
def test_the_associated_data_is_the_header_or_its_spi_and_number(header: TrafficHeader) -> None:
    whole, short = traffic.CURRENT.encode(header), traffic.LEGACY.encode(header)
    assert traffic.CURRENT.associated_data(whole) == whole
    assert list(traffic.CURRENT.associated_data_of_all([whole])) == [whole]
    spi_and_number = header.spi.to_bytes(4, "big") + header.packet_number.to_bytes(8, "big")
    assert traffic.LEGACY.associated_data(memoryview(short)) == spi_and_number
    assert list(traffic.LEGACY.associated_data_of_all([memoryview(short)])) == [spi_and_number]


@layouts
@given(header=headers, number=u64)
def test_a_header_takes_another_number(
    layout: TrafficLayout, header: TrafficHeader, number: int
) -> None:
    expected = layout.encode(dataclasses.replace(header, packet_number=number))
    assert traffic.numbered(layout.encode(header), number) == expected


@given(st.binary(max_size=1500), st.sampled_from((NEXT_INNER, NEXT_GRACE)))
def test_payloads_survive_their_tail(payload: bytes, next_: int) -> None:
    plaintext = traffic.add_tail(payload, next_)
    assert len(plaintext) == len(payload) + traffic.TAIL_BYTES
    assert traffic.split_tail_untrusted(plaintext) == (payload, next_)


@given(st.binary(max_size=8))
def test_any_bytes_have_a_tail_or_are_refused(plaintext: bytes) -> None:
    try:
        payload, next_ = traffic.split_tail_untrusted(plaintext)
    except RemoteProtocolError:
        return
    assert traffic.add_tail(payload, next_) == plaintext


@layouts
@pytest.mark.parametrize(
    ("head", "missing", "reason"),
    [
        (b"\x01", 1, Drop.TOO_SHORT),
        (b"", 0, Drop.ZERO_SPI),
        (b"\x01" + bytes(6) + b"\x02", 0, Drop.SEQUENCE_MISMATCH),
        (b"SACRAMNT", 0, Drop.OFFER_TOO_SHORT),
    ],
)
def test_a_bad_header_is_refused_by_name(
    layout: TrafficLayout, head: bytes, missing: int, reason: Drop
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        layout.decode_untrusted(head.ljust(layout.overhead_bytes - missing, b"\0"))
    assert caught.value.reason is reason


def test_sizes() -> None:
    sizes = [(layout.header_bytes, layout.overhead_bytes) for layout in LAYOUTS]
    assert sizes == [(32, 50), (16, 34)]


@pytest.mark.parametrize(
    ("plaintext", "reason"),
    [
        (b"", Drop.TOO_SHORT),
        (b"\x00", Drop.TOO_SHORT),
        (b"payload\x01\x00", Drop.RESERVED_NOT_ZERO),
        (b"payload\x00\x01", Drop.UNKNOWN_NEXT),
    ],
)
def test_a_bad_tail_is_refused_by_name(plaintext: bytes, reason: Drop) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        traffic.split_tail_untrusted(plaintext)
    assert caught.value.reason is reason


def test_numbers_that_dont_fit_are_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        traffic.CURRENT.encode(TrafficHeader(Spi(2**32), 1))
    with pytest.raises(LocalProtocolError):
        traffic.LEGACY.encode(TrafficHeader(Spi(1), 2**64))
