"""WebSocket links through a real reverse proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chancel.errors import LinkClosed
from chancel.links import websocket
from chancel.links.conformance import check_link
from chancel.links.interface import Link
from chancel.tunnel import Tunnel
from tests.links import bulk, servers
from tests.links.proxy import nginx


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Link, Link]]:
    """A caller's link and that of the called, with nginx in between."""
    port = servers.free_port()
    listener = await websocket.listen(port=port, path="/chancel")
    with nginx(port) as address:
        left = await websocket.connect(address)
        async with listener, left, await listener.accept() as right:
            yield left, right


@pytest.mark.timeout(600)
def test_it_keeps_the_rules() -> None:
    asyncio.run(check_link(pair))


@pytest.mark.timeout(bulk.TIMEOUT_S)
def test_a_tunnel_carries_much_and_nothing_is_missing() -> None:
    async def test() -> None:
        async with pair() as (left, right):
            alice, bob = Tunnel(left, bytes(32)), Tunnel(right, bytes(32))
            async with alice, bob:
                await asyncio.gather(alice.ready(), bob.ready())
                assert await bulk.carry(alice, bob) == 0

    asyncio.run(test())


def test_what_the_proxy_says_instead() -> None:
    async def test() -> None:
        port = servers.free_port()
        with nginx(port) as address:
            with pytest.raises(LinkClosed, match="answers 200 instead of a WebSocket"):
                await websocket.connect(address.replace("/chancel", "/"))
            with pytest.raises(LinkClosed, match="answers 502 instead of a WebSocket"):
                await websocket.connect(address)
            calling = asyncio.create_task(
                websocket.connect(address, retries=-1, interval_s=0.01)
            )  # until somebody is there: a proxy is often up before what it stands for
            await asyncio.wait([calling], timeout=0.1)
            assert not calling.done()
            listener = await websocket.listen(port=port, path="/chancel")
            async with listener, await calling as left, await listener.accept() as right:
                await right.send(b"at last")
                assert await left.receive() == b"at last"

    asyncio.run(asyncio.wait_for(test(), 60.0))
