"""Connected ends over each transport of this floor's core, as ``conformance`` takes them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from chancel.links.conformance import Dial
from chancel.links.interface import Link, Listener, Port
from chancel.links.memory import MemoryNetwork, memory_pair
from chancel.links.port_link import PortLink, PortListener
from chancel.links.udp import UdpPort
from chancel.wire.types import Address

LEFT, RIGHT = Address("left", 1), Address("right", 1)
LOOPBACK = "127.0.0.1"

Links = AbstractAsyncContextManager[tuple[Link, Link]]
Ports = AbstractAsyncContextManager[tuple[Port, Port]]


@contextlib.asynccontextmanager
async def memory_links(
    max_message: int = 100_000, limit: int = 64, delay_s: float = 0.0
) -> AsyncIterator[tuple[Link, Link]]:
    left, right = memory_pair(max_message=max_message, limit=limit, delay_s=delay_s)
    async with left, right:
        yield left, right


def memory_ports(make_network: Callable[[], MemoryNetwork] = MemoryNetwork) -> Ports:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Port, Port]]:
        network = make_network()
        async with network.port(LEFT) as left, network.port(RIGHT) as right:
            yield left, right

    return make()


@contextlib.asynccontextmanager
async def udp_ports(
    host: str = LOOPBACK, *, offload: bool = True
) -> AsyncIterator[tuple[UdpPort, UdpPort]]:
    async with (
        UdpPort.bind(Address(host, 0), offload=offload) as left,
        UdpPort.bind(Address(host, 0), offload=offload) as right,
    ):
        yield left, right


@contextlib.asynccontextmanager
async def udp_listener() -> AsyncIterator[tuple[Listener, Dial]]:
    port = UdpPort.bind(Address(LOOPBACK, 0))

    async def dial() -> Link:
        return PortLink(UdpPort.bind(Address(LOOPBACK, 0)), port.local)

    async with PortListener(port) as listener:
        yield listener, dial


@contextlib.asynccontextmanager
async def memory_listener(
    kind: type[PortListener] = PortListener,
) -> AsyncIterator[tuple[Listener, Dial]]:
    network = MemoryNetwork()
    callers = iter(range(1, 1000))

    async def dial() -> Link:
        return PortLink(network.port(Address("caller", next(callers))), RIGHT)

    async with kind(network.port(RIGHT), scheme="memory") as listener:
        yield listener, dial


@contextlib.asynccontextmanager
async def listened_links() -> AsyncIterator[tuple[Link, Link]]:
    """A caller, and its link of a listener: an unreliable pair of two kinds."""
    async with memory_listener() as (listener, dial), await dial() as caller:
        await caller.send(b"the first sign")
        async with await listener.accept() as link:
            await link.receive()
            yield caller, link
