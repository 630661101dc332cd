"""Bundles as a cathedral serves them."""

from __future__ import annotations

import base64
import functools
import struct

import numpy as np
import pytest

from chancel.errors import VaultError
from chancel.protocol.cathedral.bundle import Bundle
from chancel.wire.ambry import CROSSING, DEVICES, HEADER_BYTES, OWN, Header, Shape
from chancel.wire.types import FlockId
from tests.protocol.cathedral_records import load

A, B = FlockId(0xCAFEBA00), FlockId(0xDECAF000)
WALL = 1_797_000_000.0
GOOD = Header(5000, 7, bytes(range(64)))


@functools.cache
def bundle_bytes(one: FlockId, other: FlockId, header: Header = GOOD) -> bytes:
    """A bundle of the right form, each wrapped secret its flock, tunnel and zeros."""
    shape = OWN if one == other else CROSSING
    entries = b"".join(
        struct.pack("!QH", flock, tunnel) + struct.pack("!QH", flock, tunnel).ljust(48, b"\0")
        for device in DEVICES
        for peer in shape.peers(device)
        for flock, tunnel in ((one, device << 8 | peer), (other, peer << 8 | device))
    )
    return header.encode() + entries


def wrapped(flock: FlockId, tunnel: int) -> bytes:
    return struct.pack("!QH", flock, tunnel).ljust(48, b"\0")


@pytest.mark.parametrize("flocks", [(A, A), (A, B), (B, A)])
def test_every_entry_is_found(flocks: tuple[FlockId, FlockId]) -> None:
    bundle = Bundle.decode_untrusted(bundle_bytes(*sorted(flocks)), flocks, WALL, "x")
    assert bundle.header == GOOD
    for flock in set(flocks):
        for tunnel in range(0x1_0000):
            own, peer = tunnel >> 8, tunnel & 0xFF
            there = own and peer and (own != peer or flocks[0] != flocks[1])
            assert bundle.wrapped(flock, tunnel) == (wrapped(flock, tunnel) if there else None)
    assert bundle.wrapped(FlockId(0x100), 0x0102) is None


def test_the_order_of_entries_is_not_relied_on() -> None:
    data = bundle_bytes(A, A)
    entries = np.frombuffer(data, np.uint8, offset=HEADER_BYTES).reshape(-1, 58)
    bundle = Bundle.decode_untrusted(
        data[:HEADER_BYTES] + entries[::-1].tobytes(), (A, A), WALL, "x"
    )
    assert bundle.wrapped(A, 0x01FF) == wrapped(A, 0x01FF)


def test_its_memory_is_that_of_the_file_and_a_table() -> None:
    bundle = Bundle.decode_untrusted(bundle_bytes(A, A), (A, A), WALL, "x")
    assert sum(table.nbytes for table in bundle._places.values()) == 0x1_0000 * 4
    assert len(bundle._data) == OWN.size


@pytest.mark.parametrize("file", ["ambry_bundle", "ambry_xflock_bundle"])
def test_the_entries_of_real_bundles(file: str) -> None:
    """The recorded beginning of a file of the reference's, filled up."""
    record = load(file)
    one, other = (FlockId(int(record[name], 16)) for name in ("flock_src", "flock_dst"))
    start = base64.b64decode(record["prefix_base64"])
    data = bytearray(start + bundle_bytes(one, other)[len(start) :])
    for sample in record["samples"]:
        entry = bytes.fromhex(sample["entry"])
        data[sample["file_offset"] : sample["file_offset"] + len(entry)] = entry
    header = record["header"]
    bundle = Bundle.decode_untrusted(bytes(data), (one, other), 0.0, "x")
    assert bundle.header.generation == int(header["generation"], 16)
    assert bundle.header.seed.hex() == header["seed"]
    for sample in record["samples"]:
        flock, tunnel = FlockId(int(sample["flock"], 16)), int(sample["tunnel"], 16)
        assert bundle.wrapped(flock, tunnel) == bytes.fromhex(sample["entry"])[10:]


def changed(at: int, new: bytes) -> bytes:
    data = bundle_bytes(A, A)
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "flocks", "said"),
    [
        (b"", (A, A), "has 0 bytes"),
        (bundle_bytes(A, A)[:-1], (A, A), "has 3756729 bytes"),
        (bundle_bytes(A, A) + b"x", (A, A), "has 3756731 bytes"),
        (bundle_bytes(A, A), (A, B), f"such a bundle has {Shape(crossing=True).size}"),
        (bundle_bytes(A, B), (A, A), f"such a bundle has {Shape(crossing=False).size}"),
        (bundle_bytes(A, A), (B, B), "foreign flock"),
        (changed(HEADER_BYTES, B.to_bytes(8, "big")), (A, A), "foreign flock"),
        (changed(HEADER_BYTES + 8, b"\x02\x01"), (A, A), "one tunnel twice"),
        (changed(2, bytes(4)), (A, A), "generation 0"),
        (changed(0, bytes(2)), (A, A), "is expired"),
    ],
    ids=range(10),
)
def test_what_is_no_bundle_of_these_flocks(
    data: bytes, flocks: tuple[FlockId, FlockId], said: str
) -> None:
    with pytest.raises(VaultError, match=said):
        Bundle.decode_untrusted(data, flocks, WALL, "x")


def test_it_is_valid_to_its_last_second() -> None:
    last = float(GOOD.expires_at)
    assert Bundle.decode_untrusted(bundle_bytes(A, A), (A, A), last, "x")
    with pytest.raises(VaultError, match="expired"):
        Bundle.decode_untrusted(bundle_bytes(A, A), (A, A), last + 1, "x")
