"""A grace's decoder raises RemoteProtocolError alone, and what it accepts can be said again.

Protocol section 11. A probe whose size can't hold itself is the one grace that we never make.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe, decode_untrusted, encode

_LEAST_PROBE = 4


def check(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        grace = decode_untrusted(memoryview(data))
        if isinstance(grace, MtuProbe) and grace.size < _LEAST_PROBE:
            return
        said = encode(grace)
        assert decode_untrusted(said) == grace
        assert said[:2] == data[:2]


def seeds() -> Iterator[bytes]:
    for grace in (Heartbeat(), MtuProbe(623), MtuAck(1422), MtuAck(0xFFFF)):
        yield encode(grace)
