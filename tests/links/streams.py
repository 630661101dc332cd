"""Pairs of stream links, and peers that speak in bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from chancel.links.conformance import Dial
from chancel.links.interface import Link, Listener

PATIENCE_S = 60.0

Open = Callable[[], Awaitable[tuple[Listener, Dial]]]
"""Opens a listener; returns it, and what calls it."""


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test, and don't let it hang."""
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


def pair_of(open_: Open) -> Callable[[], AbstractAsyncContextManager[tuple[Link, Link]]]:
    """Pairs for the conformance check: the caller's end, and the called one's."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Link, Link]]:
        listener, dial = await open_()
        async with listener, await dial() as left, await listener.accept() as right:
            yield left, right

    return make


def listener_of(open_: Open) -> Callable[[], AbstractAsyncContextManager[tuple[Listener, Dial]]]:
    """Listeners for the conformance check."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Listener, Dial]]:
        listener, dial = await open_()
        async with listener:
            yield listener, dial

    return make


def port_of(listener: Listener) -> int:
    """The port in a listener's address."""
    return int(listener.address.rpartition(":")[2])


async def steps(number: int) -> None:
    """Let the event loop make so many steps."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process or the kernel does; the test's patience bounds it."""
    while not condition():
        await asyncio.sleep(0.002)
