"""Much data through a tunnel: what arrives is unaltered and arrives once.

A megabyte, or as many as ``CHANCEL_BULK_MB`` says.
"""

from __future__ import annotations

import asyncio
import os
import random

from chancel.links.interface import Link

MEGABYTES = int(os.environ.get("CHANCEL_BULK_MB", "1"))
TIMEOUT_S = 120 + 30 * MEGABYTES
"""For a machine that has much else to do."""

_END = b"end"


def contents(number: int) -> bytes:
    """The message of that number; no two are the same."""
    filler = random.Random(number)
    return number.to_bytes(8, "big") + filler.randbytes(900 + number % 300)


async def carry(sender: Link, receiver: Link, *, ordered: bool = True) -> int:
    """Carry it; returns how many messages are missing. Checks their order, if it is ``ordered``."""
    receiving = asyncio.create_task(receive(receiver, ordered=ordered))
    size = number = 0
    while size < MEGABYTES * 1_000_000:
        message = contents(number)
        await sender.send(message)
        size += len(message)
        number += 1
    while not receiving.done():
        await sender.send(_END)
        await asyncio.wait([receiving], timeout=0.1)
    return number - receiving.result()


async def receive(receiver: Link, *, ordered: bool) -> int:
    """Check what comes until the end; returns how many messages it was."""
    seen: set[int] = set()
    highest = -1
    while (message := await receiver.receive()) != _END:
        number = int.from_bytes(message[:8], "big")
        assert number not in seen, f"message {number} came twice"
        assert not ordered or number > highest, f"message {number} came after {highest}"
        assert message == contents(number)
        seen.add(number)
        highest = max(highest, number)
    return len(seen)
