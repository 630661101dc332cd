"""The other devices of a liturgy: the library's own, each with sockets at an address of its own.

They are *hidden*, so each is told of no device but the one that isn't, and has one tunnel.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from chancel.links.udp import UdpPort
from chancel.tunnel import Cathedrals, Joined, Liturgy, Tunnel
from chancel.wire.types import Address

_DEVICE_SHIFT = 8


def attend(
    devices: list[tuple[int, str, str]],
    keys: tuple[str, str],
    common: dict[str, Any],
    limit_s: float,
) -> Generator[float]:
    """Be devices until killed: of each its number, its address, and the file of its KEK.

    ``keys`` are the files of the secret and the COSK that all have, ``common`` what else cathedrals
    are told. Yields the moment at which they begin, on the machine's monotonic clock, and when each
    of their tunnels is up. Raises TimeoutError if one isn't, so long after the one before.
    """
    secret, cosk = map(Path, keys)
    addresses = tuple(common.pop("addresses"))
    given = [
        (
            host,
            Cathedrals(
                addresses=addresses,
                tunnel=device << _DEVICE_SHIFT,
                secret=secret,
                cosk=cosk,
                kek=Path(kek),
                **common,
            ),
        )
        for device, host, kek in devices
    ]
    up: asyncio.Queue[float] = asyncio.Queue()
    with asyncio.Runner() as runner:
        yield time.monotonic()
        company = runner.get_loop().create_task(_company(given, up))
        for _ in given:
            yield runner.run(asyncio.wait_for(up.get(), limit_s))
        runner.run(asyncio.wait_for(company, None))


async def _company(given: list[tuple[str, Cathedrals]], up: asyncio.Queue[float]) -> None:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for host, cathedrals in given:
            make = functools.partial(_tunnel, host)
            liturgy = Liturgy(UdpPort.bind(Address(host, 0)), cathedrals, make, hidden=True)
            await stack.enter_async_context(liturgy)
            group.create_task(_heed(liturgy, up))


def _tunnel(host: str, found: Cathedrals) -> Tunnel:
    return Tunnel(UdpPort.bind(Address(host, 0)), cathedral=found)


async def _heed(liturgy: Liturgy, up: asyncio.Queue[float]) -> None:
    async for event in liturgy.events():
        if isinstance(event, Joined):
            await event.tunnel.ready()
            await up.put(time.monotonic())
