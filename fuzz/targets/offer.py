"""An offer's decoders raise RemoteProtocolError alone, and encoding what they accept gives it back.

Protocol section 4: header (92 bytes) and decrypted data (451 bytes).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.wire.offer import (
    DATA_BYTES,
    HEADER_BYTES,
    MAGIC,
    OFFER_BYTES,
    ExchangeBody,
    KeyBody,
    OfferData,
    OfferHeader,
    OfferState,
)
from chancel.wire.types import FlockId, Flocks, InstanceId, Salt, SessionKey, Spi


def check(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert OfferHeader.decode_untrusted(data).encode() == data[:HEADER_BYTES]
        assert len(data) >= OFFER_BYTES
    with contextlib.suppress(RemoteProtocolError):
        assert OfferData.decode_untrusted(memoryview(data)).encode() == data
        assert len(data) == DATA_BYTES


def seeds() -> Iterator[bytes]:
    header = OfferHeader(Spi(7), Flocks(FlockId(1), FlockId(2)), bytes(range(64)))
    yield header.encode().ljust(OFFER_BYTES, b"\0")
    yield MAGIC.ljust(OFFER_BYTES, b"\xff")
    for state in OfferState:
        exchange = ExchangeBody(
            InstanceId(1), Spi(7), Salt(b"salt"), state, 3, bytes(32), bytes(392)
        )
        yield OfferData(1_760_000_000, exchange).encode()
    key = KeyBody(InstanceId(1), Salt(b"salt"), SessionKey(bytes(range(32))))
    yield OfferData(1_760_000_000, key).encode()
