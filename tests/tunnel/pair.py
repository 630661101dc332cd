"""Two tunnels that know each other, on a network in memory, in time that jumps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from chancel.errors import LinkClosed
from chancel.links.memory import MemoryNetwork, memory_pair
from chancel.tunnel import Tunnel, TunnelEvent
from chancel.wire.types import Address
from tests.links.jumping import run_jumping

__all__ = ["LEFT", "RIGHT", "SECRET", "run_jumping"]

E = TypeVar("E")

SECRET = bytes(range(32))
LEFT, RIGHT = Address("192.0.2.1", 1001), Address("192.0.2.2", 1002)
WALL = 1_800_000_000.0
UP_S = 30.0


def wall(skew_s: float = 0.0) -> Callable[[], float]:
    """A wall clock that goes with the event loop, and is ahead by so much."""
    return lambda: WALL + skew_s + asyncio.get_running_loop().time()


def left_of(network: MemoryNetwork, **settings: Any) -> Tunnel:
    """The end that knows where the other one is."""
    options: dict[str, Any] = {"secret": SECRET, "wall": wall(), "peer": RIGHT, **settings}
    return Tunnel(network.port(LEFT), **options)


def right_of(network: MemoryNetwork, **settings: Any) -> Tunnel:
    """The end that waits for the other one to call."""
    options: dict[str, Any] = {"secret": SECRET, "wall": wall(), **settings}
    return Tunnel(network.port(RIGHT), **options)


@contextlib.asynccontextmanager
async def pair(
    network: MemoryNetwork | None = None, **settings: Any
) -> AsyncIterator[tuple[Tunnel, Tunnel]]:
    """Two ends that are up."""
    network = MemoryNetwork() if network is None else network
    async with left_of(network, **settings) as left, right_of(network, **settings) as right:
        await both_ready(left, right)
        yield left, right


@contextlib.asynccontextmanager
async def linked(limit: int = 1024, **settings: Any) -> AsyncIterator[tuple[Tunnel, Tunnel]]:
    """Two ends that are up, over a reliable link."""
    ends = [Tunnel(end, SECRET, wall=wall(), **settings) for end in memory_pair(limit=limit)]
    async with ends[0] as left, ends[1] as right:
        await both_ready(left, right)
        yield left, right


async def both_ready(*tunnels: Tunnel) -> None:
    """Wait until all are up."""
    for tunnel in tunnels:
        await tunnel.ready(UP_S)


class Diary:
    """All events of a tunnel, in the background."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.events: list[TunnelEvent] = []
        self._task = asyncio.create_task(self._read(tunnel))

    async def _read(self, tunnel: Tunnel) -> None:
        async for event in tunnel.events():
            self.events.append(event)

    def happened(self, kind: type[E]) -> list[E]:
        """The events of this kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def complete(self) -> None:
        """Wait for the last event of a tunnel that has ended."""
        await self._task


async def why_not(tunnel: Tunnel, within_s: float) -> str:
    """What ``ready`` says of a tunnel that doesn't come up."""
    try:
        await tunnel.ready(within_s)
    except LinkClosed as error:
        return str(error)
    raise AssertionError(f"{tunnel} came up")


async def all_that_comes(tunnel: Tunnel, quiet_s: float = 1.0) -> list[bytes]:
    """Messages, until none comes for a while."""
    messages: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(quiet_s):
                messages += await tunnel.receive_batch()
        except TimeoutError:
            return messages


def narrow(network: MemoryNetwork, max_datagram: int) -> None:
    """From now on larger datagrams are lost without a word."""
    carry = network.carry

    def narrowed(datagram: bytes, source: Address, destination: Address) -> None:
        if len(datagram) <= max_datagram:
            carry(datagram, source, destination)

    network.carry = narrowed  # type: ignore[method-assign]
