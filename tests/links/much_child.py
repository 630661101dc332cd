"""The far end of a program's streams: takes much through a tunnel and says how much it was."""

from __future__ import annotations

import asyncio

from chancel.links import stdio
from chancel.tunnel import Tunnel
from tests.links import bulk


async def main() -> None:
    """Serve one tunnel on standard input and output."""
    async with Tunnel(await stdio.connect(), bytes(range(32))) as tunnel:
        await tunnel.ready()
        count = await bulk.receive(tunnel, ordered=True)
        await tunnel.send(str(count).encode())


asyncio.run(main())
