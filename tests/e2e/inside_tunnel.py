"""A program with a tunnel of the library, in a host of the lab."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from chancel.links.udp import UdpPort
from chancel.tunnel import Down, Refused, Tunnel, TunnelEvent, Up
from chancel.wire.types import Address
from tests.e2e.protocol_steps import Line, lines_of


def tunnel(
    own: tuple[str, int], peer: tuple[str, int], secret: str, ahead_s: float
) -> Iterator[Line]:
    """A tunnel until killed; its wall clock is ahead by so many seconds. Yields the lines of its
    trace."""

    def wall() -> float:
        return time.time() + ahead_s

    with asyncio.Runner() as runner:

        async def begin() -> Tunnel:
            port = UdpPort.bind(Address(*own))
            made = Tunnel(port, bytes.fromhex(secret), Address(*peer), wall=wall)
            return await made.__aenter__()

        events = runner.run(begin()).events()

        async def next_event() -> TunnelEvent:
            return await anext(events)

        while True:
            event = runner.run(next_event())
            if not isinstance(event, Up | Down | Refused):
                (line,) = lines_of([event])
                yield line | {"at": time.monotonic()}
