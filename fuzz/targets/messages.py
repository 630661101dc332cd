"""Key commands decode to what encodes to the very same bytes; anything else raises ValueError."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from chancel.protocol.messages import (
    EraseKeys,
    InstallMask,
    InstallReceiveKey,
    InstallSendKey,
    decode,
    encode,
)
from chancel.wire.types import Salt, SessionKey, Spi


def check(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert encode(decode(data)) == data


def seeds() -> Iterator[bytes]:
    key = SessionKey(bytes(range(32)))
    yield encode(InstallSendKey(Spi(1), Salt(b"salt"), key))
    yield encode(InstallReceiveKey(Spi(0xFFFFFFFF), Salt(b"\0\0\0\0"), key))
    yield encode(EraseKeys())
    yield encode(InstallMask(bytes(range(32))))
