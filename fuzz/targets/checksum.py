"""Checksums of one packet and of many at once are those of RFC 1071, added up word by word."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chancel.daemon.hot.checksum import checksum, finish, right, sums
from tests.daemon import naive


def check(data: bytes) -> None:
    expected = naive.checksum(data)
    # Both forms of zero are equal; a one-number checksum has only the one.
    assert checksum(data) % 0xFFFF == expected % 0xFFFF
    even = data if len(data) % 2 == 0 else data + b"\0"
    if not even:
        return
    rows = np.frombuffer(even * 3, dtype=np.uint8).reshape(3, len(even))
    stored = finish(sums(rows)).astype(np.uint16).tobytes()
    for at in range(0, len(stored), 2):
        assert int.from_bytes(stored[at : at + 2], "big") % 0xFFFF == expected % 0xFFFF
    whole = even + checksum(even).to_bytes(2, "big")
    assert right(sums(np.frombuffer(whole, dtype=np.uint8).reshape(1, len(whole)))).all()


def seeds() -> Iterator[bytes]:
    yield b"\xff" * 40
    yield b"\0" * 41
    yield bytes(range(256))
