"""A tunnel is a link, and keeps the rules of links."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from chancel.links.conformance import Terms, check_link
from chancel.links.interface import Link
from chancel.links.memory import MemoryNetwork, Trouble
from chancel.links.udp import UdpPort
from chancel.tunnel import Tunnel
from chancel.wire.types import Address
from tests.tunnel.pair import SECRET, both_ready, linked, pair

LOOPBACK = Address("127.0.0.1", 0)
GOOD = Trouble()
BAD = Trouble(loss=0.1, duplicate=0.1, reorder=0.1, delay_s=0.001)
TERMS = Terms(loses=True, duplicates=False, reorders=True, quiet_s=0.06)
"""A tunnel over such a network loses and reorders as well, and doubles nothing."""


@contextlib.asynccontextmanager
async def over_ports(trouble: Trouble) -> AsyncIterator[tuple[Link, Link]]:
    """Trouble begins when they are up: an exchange alone would take seconds then."""
    network = MemoryNetwork(3)
    async with pair(network) as ends:
        network.trouble = trouble
        yield ends


@contextlib.asynccontextmanager
async def over_links() -> AsyncIterator[tuple[Link, Link]]:
    async with linked() as ends:
        yield ends


@contextlib.asynccontextmanager
async def over_udp() -> AsyncIterator[tuple[Link, Link]]:
    ports = UdpPort.bind(LOOPBACK), UdpPort.bind(LOOPBACK)
    async with Tunnel(ports[0], SECRET, ports[1].local) as left, Tunnel(ports[1], SECRET) as right:
        await both_ready(left, right)
        yield left, right


def test_a_tunnel_over_ports() -> None:
    asyncio.run(check_link(lambda: over_ports(GOOD)))


def test_a_tunnel_on_a_bad_network() -> None:
    asyncio.run(check_link(lambda: over_ports(BAD), TERMS))


def test_a_tunnel_over_a_reliable_link() -> None:
    asyncio.run(check_link(over_links))


def test_a_tunnel_over_udp() -> None:
    asyncio.run(check_link(over_udp))
