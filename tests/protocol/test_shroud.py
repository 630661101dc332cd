"""The shroud: the reference's vectors, what grows how far, and whatever strangers send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.kdf import peer_shroud_key
from chancel.crypto.system import SystemSuite
from chancel.errors import RemoteProtocolError
from chancel.protocol.shroud import HEADER_BYTES, MIN_BYTES, SHROUD_BYTES, Shroud
from chancel.wire.drop import Drop
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import NO_FLOCKS

RECORD = json.loads((Path(__file__).parents[1] / "vectors" / "shroud.json").read_text())
VECTORS: list[dict[str, Any]] = RECORD["shroud"]
SUITE = SystemSuite()
KEY = peer_shroud_key(SUITE, bytes.fromhex(RECORD["secret"]), NO_FLOCKS)
END = b"\xff"


class DrawnSuite(SystemSuite):
    """Draws what the reference drew."""

    def __init__(self, vector: dict[str, Any]) -> None:
        super().__init__()
        self._header = bytes.fromhex(vector["header"])
        self._drawn = vector.get("accepted_random_u32", 0)

    def random(self, size: int) -> bytes:
        assert size == HEADER_BYTES + 4
        drawn: bytes = self._drawn.to_bytes(4, "big")
        return self._header + drawn


vectors = pytest.mark.parametrize("vector", VECTORS, ids=[each["name"] for each in VECTORS])


@vectors
def test_the_key_is_the_reference_s(vector: dict[str, Any]) -> None:
    assert bytes.fromhex(vector["shroud_key"]) == KEY


@vectors
def test_wraps_as_the_reference_does(vector: dict[str, Any]) -> None:
    shroud = Shroud(KEY, DrawnSuite(vector))
    packet, wire = bytes.fromhex(vector["packet"]), bytes.fromhex(vector["wire"])
    wrapped = shroud.wrap(packet, vector["mtu"])
    assert wrapped == wire
    assert len(wrapped) == vector["udp_payload_length"]
    assert len(wrapped) == SHROUD_BYTES + len(packet) + vector["zero_padding"]


@vectors
def test_unwraps_what_the_reference_wrapped(vector: dict[str, Any]) -> None:
    unwrapped = Shroud(KEY, SUITE).unwrap(bytes.fromhex(vector["wire"]))
    assert vector["unshroud_ok"]
    assert unwrapped == bytes.fromhex(vector["packet"])
    assert len(unwrapped) == vector["unshrouded_length"]


@pytest.mark.parametrize("vector", RECORD["unshroud"], ids=lambda each: str(each["name"]))
def test_unwraps_what_was_made_by_hand_as_the_reference_does(vector: dict[str, Any]) -> None:
    """But for what has no end mark: no sender omits it, and only the reference takes that whole."""
    assert bytes.fromhex(vector["shroud_key"]) == KEY
    wire, inner = bytes.fromhex(vector["wire"]), bytes.fromhex(vector["clear_inner"])
    assert masked(inner, wire[:HEADER_BYTES]) == wire
    is_marked = inner.rstrip(b"\0").endswith(END)
    if vector["ok"] and is_marked:
        assert Shroud(KEY, SUITE).unwrap(wire) == inner[: vector["length_after"]]
    else:
        assert refusal(wire) is Drop.BAD_MASK
        assert vector["length_after"] == len(inner) or vector["length_after"] < OVERHEAD_BYTES


@given(
    st.binary(min_size=OVERHEAD_BYTES, max_size=1472),
    st.integers(0, 1500),
    st.binary(min_size=8, max_size=8),
)
def test_what_is_wrapped_comes_back_and_never_grows_to_the_limit(
    datagram: bytes, limit: int, seed: bytes
) -> None:
    shroud = Shroud(KEY, SeededSuite(seed))
    wrapped = shroud.wrap(datagram, limit)
    least = SHROUD_BYTES + len(datagram)
    assert least <= len(wrapped) < max(limit, least + 1)
    assert shroud.unwrap(wrapped) == datagram
    assert shroud.unwrap(memoryview(wrapped)) == datagram


@given(st.binary(max_size=4), st.integers(0, 40), st.integers(0, 40))
def test_ends_of_zeros_and_marks_survive(end: bytes, marks: int, zeros: int) -> None:
    datagram = bytes(OVERHEAD_BYTES) + end + END * marks + bytes(zeros)
    shroud = Shroud(KEY, SUITE)
    assert shroud.unwrap(shroud.wrap(datagram, 1373)) == datagram


def test_growth_takes_every_size_below_the_limit() -> None:
    shroud = Shroud(KEY, SUITE)
    limit = 110
    sizes = {len(shroud.wrap(bytes(OVERHEAD_BYTES), limit)) for _ in range(1000)}
    assert sizes == set(range(SHROUD_BYTES + OVERHEAD_BYTES, limit))


def test_two_datagrams_have_nothing_in_common() -> None:
    shroud = Shroud(KEY, SUITE)
    first, second = (shroud.wrap(bytes(1000), 0) for _ in range(2))
    same = sum(a == b for a, b in zip(first, second, strict=True))
    assert same < 40  # one in 256 by chance: 4 of 1049


@given(st.binary(max_size=1600))
def test_a_stranger_s_datagram_is_refused_or_unwrapped(datagram: bytes) -> None:
    try:
        unwrapped = Shroud(KEY, SUITE).unwrap(datagram)
    except RemoteProtocolError:
        assert refusal(datagram) is (Drop.TOO_SHORT if len(datagram) < MIN_BYTES else Drop.BAD_MASK)
    else:
        assert OVERHEAD_BYTES <= len(unwrapped) <= len(datagram) - SHROUD_BYTES


def refusal(datagram: bytes) -> Drop:
    with pytest.raises(RemoteProtocolError) as raised:
        Shroud(KEY, SUITE).unwrap(datagram)
    return raised.value.reason


def masked(body: bytes, header: bytes = bytes(range(HEADER_BYTES))) -> bytes:
    """A body of our choice under the key."""
    mask = SUITE.kmac256(KEY, header, len(body), b"SANCTUM.SHROUD.KDF")
    return header + bytes(a ^ b for a, b in zip(body, mask, strict=True))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (bytes(OVERHEAD_BYTES - 1), Drop.TOO_SHORT),
        (bytes(OVERHEAD_BYTES), Drop.BAD_MASK),
        (bytes(60) + b"\x01", Drop.BAD_MASK),
        (bytes(OVERHEAD_BYTES - 1) + END + bytes(9), Drop.BAD_MASK),
    ],
    ids=["short", "zeros alone", "no end mark", "49 bytes before the mark"],
)
def test_what_nobody_can_have_wrapped(body: bytes, reason: Drop) -> None:
    assert refusal(masked(body)) is reason


def test_the_smallest_datagram_and_nothing_else_before_the_mark() -> None:
    assert Shroud(KEY, SUITE).unwrap(masked(bytes(50) + END)) == bytes(50)


def outcomes(key: bytes, sender: Shroud) -> list[bytes | Drop]:
    """What comes of 200 datagrams of another sender."""
    found: list[bytes | Drop] = []
    for _ in range(200):
        try:
            found.append(Shroud(key, SUITE).unwrap(sender.wrap(bytes(100), 0)))
        except RemoteProtocolError as error:
            found.append(error.reason)
    return found


def test_another_key_reveals_nothing() -> None:
    other = Shroud(bytes(32), SUITE)
    refused = sum(reason is Drop.BAD_MASK for reason in outcomes(KEY, other))
    assert refused >= 180  # 199 of 200 on the average
    assert bytes(100) not in outcomes(KEY, other)


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(vars(Shroud(KEY, SUITE)).keys()) + repr(Shroud(KEY, SUITE))
