"""Every datagram is traffic, an offer or refused by RemoteProtocolError, and never two of them.

Protocol section 2. What is called an offer has a header that decodes.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.wire.datagram import (
    CURRENT,
    LEGACY,
    MAX_DATAGRAM_BYTES,
    Kind,
    Layouts,
    classify_untrusted,
)
from chancel.wire.offer import MAGIC


def check(data: bytes) -> None:
    for layouts in (CURRENT, LEGACY):
        _check(data, layouts)


def _check(data: bytes, layouts: Layouts) -> None:
    try:
        kind = classify_untrusted(data, layouts)
    except RemoteProtocolError:
        return
    assert layouts.traffic.overhead_bytes <= len(data) <= MAX_DATAGRAM_BYTES
    assert data[:4] != bytes(4)
    assert (kind is Kind.OFFER) == data.startswith(MAGIC)
    if kind is Kind.OFFER:
        layouts.offer.decode_untrusted(data)


def seeds() -> Iterator[bytes]:
    yield MAGIC.ljust(623, b"\1")
    yield MAGIC.ljust(622, b"\1")
    yield MAGIC.ljust(551, b"\1")
    yield b"\1" * 34
    yield b"\1" * 50
    yield b"\1" * 1522
    yield bytes(50)
