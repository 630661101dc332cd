"""A traffic header's decoder raises RemoteProtocolError alone and loses nothing; so does a tail's.

Protocol section 3.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.wire.traffic import (
    CURRENT,
    LEGACY,
    NEXT_GRACE,
    NEXT_INNER,
    TrafficHeader,
    add_tail,
    split_tail_untrusted,
)
from chancel.wire.types import FlockId, Spi


def check(data: bytes) -> None:
    for layout in (CURRENT, LEGACY):
        with contextlib.suppress(RemoteProtocolError):
            header = layout.decode_untrusted(data)
            assert layout.encode(header) == data[: layout.header_bytes]
            assert header.spi != 0
            assert len(data) >= layout.overhead_bytes
    with contextlib.suppress(RemoteProtocolError):
        payload, next_ = split_tail_untrusted(memoryview(data))
        assert add_tail(payload, next_) == data
        assert next_ in (NEXT_INNER, NEXT_GRACE)


def seeds() -> Iterator[bytes]:
    for number in (1, 0xFFFF_FFFF, 1 << 32, (1 << 64) - 1):
        header = TrafficHeader(Spi(0x01020304), number, FlockId(0x1100), FlockId(0x2200))
        yield CURRENT.encode(header) + bytes(18)
        yield LEGACY.encode(header) + bytes(18)
    yield add_tail(b"inner", NEXT_INNER)
    yield add_tail(b"\1\0", NEXT_GRACE)
