"""Graces: little-endian type and size (protocol section 11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.grace import LEGACY, Grace, Heartbeat, MtuAck, MtuProbe, decode_untrusted, encode

graces = (
    st.just(Heartbeat())
    | st.integers(4, 2000).map(MtuProbe)
    | st.integers(0, 2**16 - 1).map(MtuAck)
)


@given(graces, st.binary(max_size=40))
def test_graces_survive_the_wire_whatever_follows(grace: Grace, more: bytes) -> None:
    assert decode_untrusted(encode(grace) + more) == grace


@given(st.binary(max_size=8) | st.binary(max_size=8).map(lambda tail: b"\x02\x00" + tail))
def test_any_bytes_are_a_grace_or_refused(payload: bytes) -> None:
    try:
        grace = decode_untrusted(payload)
    except RemoteProtocolError:
        return
    assert isinstance(grace, Heartbeat | MtuProbe | MtuAck)


@pytest.mark.parametrize(
    ("grace", "head", "size"),
    [
        (Heartbeat(), "0100", 2),
        (MtuProbe(1422), "02008e05", 1422),
        (MtuProbe(4), "02000400", 4),
        (MtuAck(1422), "03008e05", 4),
    ],
)
def test_layout(grace: Grace, head: str, size: int) -> None:
    payload = encode(grace)
    assert len(payload) == size
    assert payload == bytes.fromhex(head).ljust(size, b"\0")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Drop.GRACE_TOO_SHORT),
        (b"\x01", Drop.GRACE_TOO_SHORT),
        (b"\x02\x00\x8e", Drop.GRACE_TOO_SHORT),
        (b"\x03\x00", Drop.GRACE_TOO_SHORT),
        (b"\x00\x00", Drop.GRACE_UNKNOWN),
        (b"\x04\x00\x00\x00", Drop.GRACE_UNKNOWN),
        (b"\x00\x01", Drop.GRACE_UNKNOWN),
    ],
)
def test_a_bad_grace_is_refused_by_name(payload: bytes, reason: Drop) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_untrusted(payload)
    assert caught.value.reason is reason


@pytest.mark.parametrize("grace", [MtuProbe(3), MtuProbe(65536), MtuAck(-1), MtuAck(65536)])
def test_sizes_that_dont_fit_are_not_written(grace: Grace) -> None:
    with pytest.raises(LocalProtocolError):
        encode(grace)


def test_release_0_9_has_heartbeats_alone_and_writes_nothing_into_them() -> None:
    assert LEGACY.encode(Heartbeat()) == b""
    with pytest.raises(LocalProtocolError, match="give its MTU a number"):
        LEGACY.encode(MtuProbe(1400))


@given(st.binary(max_size=40))
def test_to_release_0_9_any_grace_is_a_heartbeat(payload: bytes) -> None:
    assert LEGACY.decode_untrusted(payload) == Heartbeat()
