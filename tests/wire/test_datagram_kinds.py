"""Telling datagrams apart before anything is decoded (protocol section 2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import RemoteProtocolError
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.datagram import LEGACY, Kind, classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"\x01".ljust(50, b"\0"), Kind.TRAFFIC),
        (b"\xff" * 1522, Kind.TRAFFIC),
        (MAGIC[:7].ljust(50, b"\0"), Kind.TRAFFIC),
        (MAGIC + bytes(615), Kind.OFFER),
        (CATHEDRAL.magic + bytes(615), Kind.CATHEDRAL),
        (CATHEDRAL.magic + bytes(42), Kind.CATHEDRAL),
        (b"CIBORIUM" + bytes(615), Kind.TRAFFIC),
        (MAGIC + bytes(1514), Kind.OFFER),
    ],
)
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_kinds(
    datagram: bytes, kind: Kind, buffer: type[bytes] | type[bytearray] | type[memoryview]
) -> None:
    assert classify_untrusted(buffer(datagram)) is kind


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", Drop.TOO_SHORT),
        (b"\xff" * 49, Drop.TOO_SHORT),
        (b"\xff" * 1523, Drop.TOO_LONG),
        (bytes(50), Drop.ZERO_SPI),
        (bytes(4) + b"\xff" * 46, Drop.ZERO_SPI),
        (MAGIC + bytes(614), Drop.OFFER_TOO_SHORT),
        (MAGIC + bytes(42), Drop.OFFER_TOO_SHORT),
    ],
)
def test_refusals(datagram: bytes, reason: Drop) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        classify_untrusted(datagram)
    assert caught.value.reason is reason


@given(st.binary(max_size=1600) | st.binary(max_size=700).map(lambda tail: MAGIC + tail))
def test_any_bytes_are_of_a_kind_or_refused(datagram: bytes) -> None:
    try:
        kind = classify_untrusted(datagram)
    except RemoteProtocolError:
        return
    assert (kind is Kind.OFFER) == datagram.startswith(MAGIC)


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"\x01" * 33, Drop.TOO_SHORT),
        (b"\x01" * 34, Kind.TRAFFIC),
        (MAGIC + bytes(542), Drop.OFFER_TOO_SHORT),
        (MAGIC + bytes(543), Kind.OFFER),
    ],
)
def test_release_0_9_has_smaller_ones(datagram: bytes, expected: Kind | Drop) -> None:
    try:
        found: Kind | Drop = classify_untrusted(datagram, LEGACY)
    except RemoteProtocolError as error:
        found = error.reason
    assert found is expected
