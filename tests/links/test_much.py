"""A tunnel over each transport carries much, under the transport's own kind of trouble.

What arrives is unaltered and arrives once; where the transport is reliable, nothing is missing. A
serial line, WebSocket and lines of text have this among their own tests. ``make bulk`` carries
100 MB over each.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from chancel.links import addresses, stdio
from chancel.links.interface import Link
from chancel.links.memory import MemoryNetwork, memory_pair
from chancel.links.udp import UdpPort
from chancel.tunnel import Tunnel
from chancel.wire.drop import Drop
from chancel.wire.types import Address
from tests.links import bulk
from tests.links.authority import make_files
from tests.links.wires import HOST, DatagramWire, stream_wire

SECRET = bytes(range(32))
MOST_MISSING = 0.1
"""Of what is sent over a bad network: the wires below lose a few in a hundred."""

Open = Callable[[Path], AbstractAsyncContextManager[tuple[Link, Link]]]


@contextlib.asynccontextmanager
async def tcp(_folder: Path) -> AsyncIterator[tuple[Link, Link]]:
    async with await addresses.listen(f"tcp://{HOST}:0") as listener:
        port = int(listener.address.rpartition(":")[2])
        async with stream_wire(port) as near:
            caller = await addresses.connect(f"tcp://{HOST}:{near}")
            yield caller, await listener.accept()


@contextlib.asynccontextmanager
async def tls(folder: Path) -> AsyncIterator[tuple[Link, Link]]:
    files = make_files(folder / "ca", HOST)
    mine = f"certificate={files.certificate}&key={files.key}"
    async with await addresses.listen(f"tls://{HOST}:0?{mine}") as listener:
        port = int(listener.address.partition("?")[0].rpartition(":")[2])
        async with stream_wire(port) as near:
            calling = asyncio.create_task(
                addresses.connect(f"tls://{HOST}:{near}?cafile={files.cafile}")
            )
            called = await listener.accept()
            yield await calling, called


@contextlib.asynccontextmanager
async def unix(folder: Path) -> AsyncIterator[tuple[Link, Link]]:
    there, near = folder / "there", folder / "near"
    async with (
        await addresses.listen(f"unix://{there}") as listener,
        stream_wire(there, near),
    ):
        caller = await addresses.connect(f"unix://{near}")
        yield caller, await listener.accept()


@contextlib.asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[tuple[Link, Link]]:
    yield memory_pair(limit=3, delay_s=0.0001)


@pytest.mark.timeout(bulk.TIMEOUT_S)
@pytest.mark.parametrize("open_", [tcp, tls, unix, memory])
def test_nothing_is_missing(open_: Open, tmp_path: Path) -> None:
    async def test() -> None:
        async with open_(tmp_path) as (left, right):
            alice, bob = Tunnel(left, SECRET), Tunnel(right, SECRET)
            async with alice, bob:
                await asyncio.gather(alice.ready(), bob.ready())
                assert await bulk.carry(alice, bob) == 0

    asyncio.run(test())


@pytest.mark.timeout(bulk.TIMEOUT_S)
def test_nothing_is_missing_at_the_far_end_of_a_program_s_streams() -> None:
    async def test() -> None:
        link = await stdio.spawn([sys.executable, "-m", "tests.links.much_child"])
        async with Tunnel(link, SECRET) as tunnel:
            await tunnel.ready()
            size = number = 0
            while size < bulk.MEGABYTES * 1_000_000:
                message = bulk.contents(number)
                await tunnel.send(message)
                size += len(message)
                number += 1
            await tunnel.send(b"end")
            assert await tunnel.receive() == str(number).encode()

    asyncio.run(test())


@pytest.mark.timeout(bulk.TIMEOUT_S)
def test_what_arrives_over_a_bad_wire_of_datagrams_is_right() -> None:
    async def test() -> None:
        right = UdpPort.bind(Address(HOST, 0))
        wire = DatagramWire(right.local)
        async with wire.running() as near:
            alice = Tunnel(UdpPort.bind(Address(HOST, 0)), SECRET, peer=near)
            async with alice, Tunnel(right, SECRET) as bob:
                await asyncio.gather(alice.ready(), bob.ready())
                missing = await bulk.carry(alice, bob, ordered=False)
                drops = bob.drops
        assert wire.done > 0
        assert 0 < missing < MOST_MISSING * bulk.MEGABYTES * 1000
        assert drops[Drop.DUPLICATE]
        assert drops[Drop.BAD_TAG]

    asyncio.run(test())


@pytest.mark.timeout(bulk.TIMEOUT_S)
def test_what_arrives_through_a_bad_network_in_memory_is_right() -> None:
    async def test() -> None:
        network = MemoryNetwork(3, loss=0.02, duplicate=0.02, reorder=0.02, corrupt=0.02)
        left, right = network.port(Address("left", 1)), network.port(Address("right", 1))
        async with Tunnel(left, SECRET, peer=right.local) as alice, Tunnel(right, SECRET) as bob:
            await asyncio.gather(alice.ready(), bob.ready())
            missing = await bulk.carry(alice, bob, ordered=False)
            assert 0 < missing < MOST_MISSING * bulk.MEGABYTES * 1000

    asyncio.run(test())
