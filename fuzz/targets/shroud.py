"""Whatever a masked datagram holds, it unwraps to a datagram or raises RemoteProtocolError alone.

Protocol section 12.2. What was wrapped comes out as it was, and wrapping keeps below its limit.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.protocol.shroud import HEADER_BYTES, MIN_BYTES, SHROUD_BYTES, Shroud
from chancel.sim.suite import FastSuite
from chancel.wire.traffic import OVERHEAD_BYTES

_KEY = bytes(range(32))
_LIMITS = (0, 576, 1373, 1422)


def check(data: bytes) -> None:
    shroud = Shroud(_KEY, FastSuite(random.Random(data[:2])))
    with contextlib.suppress(RemoteProtocolError):
        inside = shroud.unwrap(data)
        assert len(data) >= MIN_BYTES
        assert OVERHEAD_BYTES <= len(inside) < len(data) - HEADER_BYTES
    if len(data) < OVERHEAD_BYTES:
        return
    for limit in _LIMITS:
        wrapped = shroud.wrap(memoryview(data), limit)
        assert len(data) + SHROUD_BYTES <= len(wrapped)
        assert len(wrapped) < max(limit, len(data) + SHROUD_BYTES + 1)
        assert shroud.unwrap(memoryview(wrapped)) == data


def seeds() -> Iterator[bytes]:
    shroud = Shroud(_KEY, FastSuite(random.Random(0)))
    for size in (50, 98, 623, 1472):
        yield shroud.wrap(b"\1" * size, 0)
        yield b"\0" * size
        yield b"\xff" * size
