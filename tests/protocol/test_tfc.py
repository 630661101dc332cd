"""Packets of one size: filled, and cut to what their IP header says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.system import SystemSuite
from chancel.errors import RemoteProtocolError
from chancel.protocol.tfc import Tfc
from chancel.wire.drop import Drop

MTU = 700
TFC = Tfc(MTU)
SUITE = SystemSuite()


def ip4(size: int) -> bytes:
    return (b"\x45\0" + size.to_bytes(2, "big")).ljust(size, b"x")


def ip6(size: int) -> bytes:
    return (b"\x60\x01\x02\x03" + (size - 40).to_bytes(2, "big")).ljust(size, b"x")


@given(st.integers(20, MTU))
def test_an_ip4_packet_comes_back(size: int) -> None:
    filled = TFC.fill(ip4(size))
    assert len(filled) == MTU
    assert TFC.cut_untrusted(filled) == ip4(size)


@given(st.integers(40, MTU))
def test_so_does_an_ip6_packet(size: int) -> None:
    filled = TFC.fill(memoryview(ip6(size)))
    assert len(filled) == MTU
    assert TFC.cut_untrusted(filled) == ip6(size)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        ip4(20)[:19],
        ip4(20).replace(b"\0\x14", b"\0\x13"),
        b"\x45\0\0\x15" + bytes(16),
        b"\x60" + bytes(3) + b"\0\x01" + bytes(34),
        bytes(MTU),
    ],
    ids=["empty", "19 bytes", "length of 19", "longer than it is", "IPv6, longer", "zeros"],
)
def test_lengths_that_cannot_be(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        TFC.cut_untrusted(payload)
    assert raised.value.reason is Drop.TFC_LENGTH


@given(st.binary(max_size=MTU))
def test_any_payload_is_cut_or_refused(payload: bytes) -> None:
    try:
        packet = TFC.cut_untrusted(payload)
    except RemoteProtocolError:
        packet = payload
    else:
        assert len(packet) >= 20
    assert payload.startswith(packet)


def test_offers_have_the_size_of_traffic() -> None:
    first, second = (TFC.fill_offer(bytes(623), SUITE) for _ in range(2))
    assert len(first) == len(second) == MTU + 50
    assert first[:623] == second[:623]
    assert first[623:] != second[623:]


def test_an_offer_that_is_larger_stays_as_it_is() -> None:
    assert Tfc(500).fill_offer(b"x" * 623, SUITE) == b"x" * 623
