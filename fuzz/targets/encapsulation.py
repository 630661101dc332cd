"""Whatever an encapsulated datagram holds, it comes out or raises RemoteProtocolError alone.

Release 0.9.20's mask. What was wrapped comes out as it was, longer by the outer header.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from chancel.errors import RemoteProtocolError
from chancel.protocol.encapsulation import COUNT_LIMIT, HEADER_BYTES, MIN_BYTES, Encapsulation
from chancel.sim.suite import FastSuite

_KEY = bytes(range(32))
_COUNTS = (1, 0xFFFF, COUNT_LIMIT - 1, COUNT_LIMIT)


def check(data: bytes) -> None:
    suite = FastSuite(random.Random(data[:2]))
    with contextlib.suppress(RemoteProtocolError):
        inside = Encapsulation(_KEY, suite).unwrap(data)
        assert len(data) >= MIN_BYTES
        assert len(inside) == len(data) - HEADER_BYTES
    if len(data) + HEADER_BYTES < MIN_BYTES:
        return
    for count in _COUNTS:
        mask = Encapsulation(_KEY, suite, count)
        wrapped = mask.wrap(memoryview(data), 0)
        assert len(wrapped) == len(data) + HEADER_BYTES
        assert mask.unwrap(memoryview(wrapped)) == data


def seeds() -> Iterator[bytes]:
    mask = Encapsulation(_KEY, FastSuite(random.Random(0)))
    for size in (34, 50, 623, 1472):
        yield mask.wrap(b"\1" * size, 0)
        yield b"\0" * size
