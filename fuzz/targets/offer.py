"""An offer's decoders raise RemoteProtocolError alone, and encoding what they accept gives it back.

Protocol section 4: header (92 bytes; 84 in release 0.9.20) and decrypted data (451 bytes).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.wire.offer import (
    CURRENT,
    DATA_BYTES,
    LEGACY,
    MAGIC,
    ExchangeBody,
    KeyBody,
    OfferData,
    OfferHeader,
    OfferState,
)
from chancel.wire.types import FlockId, Flocks, InstanceId, Salt, SessionKey, Spi


def check(data: bytes) -> None:
    for layout in (CURRENT, LEGACY):
        with contextlib.suppress(RemoteProtocolError):
            head = layout.encode(layout.decode_untrusted(data))
            assert head == data[: layout.header_bytes]
            assert len(data) >= layout.offer_bytes
    with contextlib.suppress(RemoteProtocolError):
        assert OfferData.decode_untrusted(memoryview(data)).encode() == data
        assert len(data) == DATA_BYTES


def seeds() -> Iterator[bytes]:
    header = OfferHeader(Spi(7), Flocks(FlockId(1), FlockId(2)), bytes(range(64)))
    for layout in (CURRENT, LEGACY):
        yield layout.encode(header).ljust(layout.offer_bytes, b"\0")
        yield MAGIC.ljust(layout.offer_bytes, b"\xff")
    for state in OfferState:
        exchange = ExchangeBody(
            InstanceId(1), Spi(7), Salt(b"salt"), state, 3, bytes(32), bytes(392)
        )
        yield OfferData(1_760_000_000, exchange).encode()
    key = KeyBody(InstanceId(1), Salt(b"salt"), SessionKey(bytes(range(32))))
    yield OfferData(1_760_000_000, key).encode()
