"""Two ends of a tunnel in one process: the smallest thing that works.

Run it: python memory.py
"""

import asyncio
import secrets

from chancel.links.memory import memory_pair
from chancel.tunnel import Tunnel


async def main() -> None:
    left, right = memory_pair()
    secret = secrets.token_bytes(32)
    async with Tunnel(left, secret) as alice, Tunnel(right, secret) as bob:
        await alice.ready()
        await alice.send(b"hello, bob")
        print(await bob.receive())


asyncio.run(main())
