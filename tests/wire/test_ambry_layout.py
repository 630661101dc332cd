"""The bundle's bytes: the reference's own, and what doesn't fit."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from chancel.errors import LocalProtocolError
from chancel.wire.ambry import (
    CROSSING,
    DAY_S,
    DEVICES,
    ENTRY_BYTES,
    EPOCH_S,
    HEADER_BYTES,
    OWN,
    Header,
    Shape,
    decode_entries_untrusted,
    encode_entry_into,
    expiry,
    tunnel,
)
from chancel.wire.types import FlockId

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = {"ambry_bundle": OWN, "ambry_xflock_bundle": CROSSING}

recorded = pytest.mark.parametrize(("name", "shape"), FILES.items(), ids=FILES)


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return vector


@recorded
def test_the_sizes_are_the_references(name: str, shape: Shape) -> None:
    vector = load(name)
    assert (shape.size, 2 * shape.pairs) == (vector["file_size"], vector["entry_count"])
    assert Shape.of_size(vector["file_size"]) == shape
    assert Shape.of_size(vector["file_size"] - 1) is None


@recorded
def test_the_header_is_read_and_written(name: str, shape: Shape) -> None:
    vector = load(name)
    data = base64.b64decode(vector["prefix_base64"])
    header = Header.decode_untrusted(data)
    recorded = vector["header"]
    assert header == Header(
        recorded["expires_days"], int(recorded["generation"], 16), bytes.fromhex(recorded["seed"])
    )
    assert header.encode() == data[:HEADER_BYTES]


@recorded
def test_entries_stand_in_the_order_of_the_shape(name: str, shape: Shape) -> None:
    vector = load(name)
    own, peer = (FlockId(int(vector[key], 16)) for key in ("flock_src", "flock_dst"))
    pairs = [(device, other) for device in DEVICES for other in shape.peers(device)]
    expected = [
        end
        for device, other in pairs
        for end in ((own, tunnel(device, other)), (peer, tunnel(other, device)))
    ]
    data = base64.b64decode(vector["prefix_base64"])
    entries = list(decode_entries_untrusted(data))
    assert [entry[:2] for entry in entries] == expected[: vector["prefix_entries"]]
    for sample in vector["samples"]:
        flock, own_name = int(sample["flock"], 16), int(sample["tunnel"], 16)
        assert expected[sample["index"]] == (flock, own_name)
        assert HEADER_BYTES + sample["index"] * ENTRY_BYTES == sample["file_offset"]
    assert len(pairs) == shape.pairs
    starts = [2 * shape.pairs_before(device) for device in DEVICES if shape.peers(device)]
    assert [expected[start] for start in starts] == [
        (own, tunnel(device, shape.peers(device)[0])) for device in DEVICES if shape.peers(device)
    ]


@recorded
def test_an_entry_is_written_where_it_belongs(name: str, shape: Shape) -> None:
    vector = load(name)
    data = base64.b64decode(vector["prefix_base64"])
    target = bytearray(len(data))
    for index, (flock, own_name, wrapped) in enumerate(decode_entries_untrusted(data)):
        encode_entry_into(target, index, FlockId(flock), own_name, wrapped)
    assert target[HEADER_BYTES:] == data[HEADER_BYTES:]


@pytest.mark.parametrize(
    ("elapsed_s", "days", "expires"),
    [(0, 30, 30), (1, 30, 30), (DAY_S - 1, 30, 30), (DAY_S, 30, 31), (0.9, 0, 0), (-1, 0, -1)],
)
def test_expiry_is_rounded_down(elapsed_s: float, days: int, expires: int) -> None:
    assert expiry(EPOCH_S + elapsed_s, days) == expires


def test_the_last_second_is_that_of_the_day() -> None:
    assert Header(1157, 1, bytes(64)).expires_at == EPOCH_S + 1157 * DAY_S


@pytest.mark.parametrize(
    "header",
    [
        Header(-1, 1, bytes(64)),
        Header(1 << 16, 1, bytes(64)),
        Header(1, 1 << 32, bytes(64)),
        Header(1, 1, bytes(63)),
    ],
)
def test_values_that_do_not_fit_are_our_mistake(header: Header) -> None:
    with pytest.raises(LocalProtocolError):
        header.encode()
