"""Framers: any cut, any garbage, and naive twins."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LocalProtocolError
from chancel.links.framing import (
    MAX_LONG,
    MAX_SHORT,
    Cobs,
    Damage,
    Framer,
    LengthPrefix,
    Slip,
)

MAKERS: dict[str, Callable[[], Framer]] = {
    "u16": LengthPrefix,
    "u32": lambda: LengthPrefix(4),
    "slip": Slip,
    "cobs": Cobs,
}
LINE = {name: MAKERS[name] for name in ("slip", "cobs")}

framers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
line_framers = pytest.mark.parametrize("make", LINE.values(), ids=LINE)

# Bytes that mean something to one of the framers, and runs around the length of a COBS block.
special = st.lists(st.sampled_from([0x00, 0x01, 0xC0, 0xDB, 0xDC, 0xDD, 0xFE, 0xFF])).map(bytes)
runs = st.builds(
    lambda before, size, after: before + b"\x55" * size + after,
    special,
    st.sampled_from([252, 253, 254, 255, 507, 508, 509]),
    special,
)
messages = st.one_of(st.binary(max_size=40), special, runs)


def naive_slip(data: bytes) -> bytes:
    """RFC 1055, byte by byte."""
    out = bytearray()
    for byte in data:
        out += {0xC0: b"\xdb\xdc", 0xDB: b"\xdb\xdd"}.get(byte, bytes((byte,)))
    return bytes(out)


def naive_unslip(encoded: bytes) -> bytes | None:
    out = bytearray()
    escaped = False
    for byte in encoded:
        if escaped:
            if byte not in (0xDC, 0xDD):
                return None
            out.append(0xC0 if byte == 0xDC else 0xDB)
            escaped = False
        elif byte == 0xDB:
            escaped = True
        else:
            out.append(byte)
    return None if escaped else bytes(out)


def naive_cobs(data: bytes) -> bytes:
    """The paper's algorithm, byte by byte: a code is patched when its block is known."""
    out, code_at, code = bytearray(1), 0, 1
    for number, byte in enumerate(data, start=1):
        if byte:
            out.append(byte)
            code += 1
        if not byte or code == 0xFF:
            out[code_at] = code
            if byte and number == len(data):
                return bytes(out)
            code_at, code = len(out), 1
            out.append(0)
    out[code_at] = code
    return bytes(out)


def naive_uncobs(encoded: bytes) -> bytes | None:
    out = bytearray()
    at = 0
    while at < len(encoded):
        code = encoded[at]
        for number in range(1, code):
            if at + number >= len(encoded):
                return None
            out.append(encoded[at + number])
        at += code
        if code < 0xFF and at < len(encoded):
            out.append(0)
    return bytes(out)


def with_crc(message: bytes) -> bytes:
    return message + struct.pack(">I", zlib.crc32(message))


def whole(framer: Framer, data: bytes) -> list[bytes]:
    return framer.feed(data)


def byte_by_byte(framer: Framer, data: bytes) -> list[bytes]:
    return [message for byte in data for message in framer.feed(bytes((byte,)))]


@framers
@given(batch=st.lists(messages, max_size=6))
def test_what_is_encoded_is_decoded_whole_and_byte_by_byte(
    make: Callable[[], Framer], batch: list[bytes]
) -> None:
    data = b"".join(make().encode(message) for message in batch)
    for feed in (whole, byte_by_byte):
        framer = make()
        assert feed(framer, data) == batch
        assert not framer.drops
        assert not framer.partial


@framers
@given(batch=st.lists(messages, min_size=1, max_size=3))
def test_each_possible_cut_gives_the_same(make: Callable[[], Framer], batch: list[bytes]) -> None:
    data = b"".join(make().encode(message) for message in batch)
    for cut in range(len(data) + 1):
        framer = make()
        assert framer.feed(data[:cut]) + framer.feed(memoryview(data)[cut:]) == batch


@framers
@given(batch=st.lists(messages, max_size=5), cuts=st.lists(st.integers(1, 50), min_size=1))
def test_any_pieces_give_the_same(
    make: Callable[[], Framer], batch: list[bytes], cuts: Sequence[int]
) -> None:
    data = b"".join(make().encode(message) for message in batch)
    framer, arrived, at, number = make(), list[bytes](), 0, 0
    while at < len(data):
        size = cuts[number % len(cuts)]
        arrived += framer.feed(bytearray(data[at : at + size]))
        at, number = at + size, number + 1
    assert arrived == batch


@framers
@given(data=st.binary(max_size=300))
def test_no_bytes_make_a_framer_raise(make: Callable[[], Framer], data: bytes) -> None:
    framer = make()
    assert byte_by_byte(framer, data) == make().feed(data)


@framers
def test_messages_have_a_limit(make: Callable[[], Framer]) -> None:
    framer = make()
    largest = bytes(framer.max_message)
    assert framer.feed(framer.encode(largest)) == [largest]
    with pytest.raises(LocalProtocolError, match="send it in parts"):
        framer.encode(bytes(framer.max_message + 1))


@pytest.mark.parametrize(
    ("framer", "message", "frame"),
    [
        (LengthPrefix(), b"ping", "0004 70696e67"),
        (LengthPrefix(), b"", "0000"),
        (LengthPrefix(4), b"ping", "00000004 70696e67"),
        (Slip(), b"", "c0 00000000 c0"),
        (Slip(), b"\xc0\xdb", "c0 dbdc dbdd 9b22ceed c0"),
        (Cobs(), b"", "00 0101010101 00"),
        (Cobs(), b"123456789", "00 0e 313233343536373839 cbf43926 00"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_bytes_are_these(framer: Framer, message: bytes, frame: str) -> None:
    assert framer.encode(message).hex() == frame.replace(" ", "")


# Length prefixes.


@pytest.mark.parametrize(("size", "limit"), [(2, MAX_SHORT), (4, MAX_LONG)])
def test_a_length_prefix_takes_what_its_limit_says(size: int, limit: int) -> None:
    framer = LengthPrefix(2 if size == 2 else 4)
    assert framer.max_message == limit


@pytest.mark.parametrize("limit", [0, -1, 1 << 16])
def test_a_limit_that_no_length_can_say_is_refused(limit: int) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 65535"):
        LengthPrefix(2, limit)


def test_a_length_above_the_limit_breaks_the_stream_and_allocates_nothing() -> None:
    framer = LengthPrefix(4, 1000)
    good = framer.encode(b"good")
    tracemalloc.start()
    try:
        assert framer.feed(good + b"\xff\xff\xff\xff" + bytes(100)) == [b"good"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert framer.broken is Damage.TOO_LONG
    assert framer.drops == {Damage.TOO_LONG: 1}
    assert framer.feed(good) == []
    assert not framer.partial


def test_a_length_within_the_limit_is_no_reason_to_allocate_either() -> None:
    framer = LengthPrefix(4)
    tracemalloc.start()
    try:
        assert framer.feed(struct.pack(">I", MAX_LONG) + b"a") == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_LONG // 10
    assert framer.partial


# Frames with delimiters.


@given(data=st.one_of(messages, st.binary(max_size=600)))
def test_slip_agrees_with_a_naive_twin(data: bytes) -> None:
    encoded = b"\xc0" + naive_slip(with_crc(data)) + b"\xc0"
    assert Slip().encode(data) == encoded
    assert Slip()._unpack(data) == naive_unslip(data)


@given(data=st.one_of(messages, st.binary(max_size=600)))
def test_cobs_agrees_with_a_naive_twin(data: bytes) -> None:
    encoded = b"\0" + naive_cobs(with_crc(data)) + b"\0"
    assert Cobs().encode(data) == encoded
    for text in (data.replace(b"\0", b"\1"), naive_cobs(data)):
        assert Cobs()._unpack(text) == naive_uncobs(text)


@pytest.mark.parametrize("size", [1, 253, 254, 255, 508, 509, 762, 1000])
@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0"])
def test_cobs_around_the_length_of_a_block(size: int, tail: bytes) -> None:
    data = b"\7" * size + tail
    encoded = Cobs()._pack(data)
    assert 0 not in encoded
    assert encoded == naive_cobs(data)
    assert len(encoded) <= Cobs()._worst(len(data))
    assert Cobs()._unpack(encoded) == data


def test_an_empty_block_behind_a_full_one_is_accepted() -> None:
    full = b"\xff" + b"\7" * 254
    assert Cobs()._unpack(full) == Cobs()._unpack(full + b"\1") == b"\7" * 254


@line_framers
@given(
    batch=st.lists(st.tuples(st.binary(max_size=30), messages), min_size=1, max_size=5),
    noise=st.binary(max_size=30),
)
def test_the_next_frame_is_found_after_any_garbage(
    make: Callable[[], Framer], batch: list[tuple[bytes, bytes]], noise: bytes
) -> None:
    data = b"".join(garbage + make().encode(message) for garbage, message in batch) + noise
    for feed in (whole, byte_by_byte):
        arrived = feed(make(), data)
        # Garbage may be a good frame by chance, so it can only add messages.
        for _, message in batch:
            assert message in arrived
            del arrived[: arrived.index(message) + 1]


@line_framers
@given(message=messages, at=st.integers(0), flip=st.integers(1, 255))
def test_no_altered_byte_alters_a_message(
    make: Callable[[], Framer], message: bytes, at: int, flip: int
) -> None:
    frame = bytearray(make().encode(message))
    frame[at % len(frame)] ^= flip
    framer = make()
    arrived = framer.feed(bytes(frame) + make().encode(b"next"))
    assert arrived in ([b"next"], [message, b"next"])
    if arrived == [b"next"]:
        assert framer.drops.total() >= 1


@line_framers
@pytest.mark.parametrize(
    ("slip", "cobs", "damage"),
    [
        (b"\xdb\x01", b"\x05\x01", Damage.BAD_CODE),
        (b"abc", b"\x04abc", Damage.TOO_SHORT),
        (b"abcdefgh", b"\x09abcdefgh", Damage.BAD_CHECKSUM),
    ],
)
def test_a_bad_frame_is_counted_by_its_reason(
    make: Callable[[], Framer], slip: bytes, cobs: bytes, damage: Damage
) -> None:
    framer = make()
    delimiter, body = (b"\xc0", slip) if isinstance(framer, Slip) else (b"\0", cobs)
    assert framer.feed(delimiter + body + delimiter + framer.encode(b"good")) == [b"good"]
    assert framer.drops == {damage: 1}


@line_framers
@pytest.mark.parametrize("noise", [b"\x07", b"\xdb", b"\xff"])
def test_a_frame_without_end_costs_bounded_memory_and_counts_once(
    make: Callable[[], Framer], noise: bytes
) -> None:
    framer = make()
    good = framer.encode(b"good")
    chunk = noise * 65536
    framer.feed(chunk * 4)
    tracemalloc.start()
    try:
        for _ in range(50):
            assert framer.feed(chunk) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert framer.drops == {Damage.TOO_LONG: 1}
    assert framer.partial
    assert framer.feed(good) == [b"good"]
    assert not framer.partial


@line_framers
def test_a_frame_just_above_the_limit_is_dropped(make: Callable[[], Framer]) -> None:
    small = type(make())(100)  # type: ignore[call-arg]
    assert small.feed(make().encode(bytes(101))) == []
    assert small.feed(make().encode(bytes(100))) == [bytes(100)]
    assert small.drops == {Damage.TOO_LONG: 1}
