"""Links over ports: strangers, many peers on one socket, and who goes when it gets crowded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import port_link
from chancel.links.memory import MemoryNetwork, MemoryPort
from chancel.links.port_link import MAX_BACKLOG, PeerLink, PortLink, PortListener
from chancel.links.udp import UdpPort
from chancel.wire.types import Address
from tests.links.ends import LEFT, LOOPBACK, RIGHT
from tests.links.jumping import run_jumping


class Town:
    """A listener, and callers."""

    def __init__(self, *, max_peers: int = 100, idle_s: float = 60.0) -> None:
        self.network = MemoryNetwork()
        self.listener = PortListener(
            self.network.port(RIGHT), max_peers=max_peers, idle_s=idle_s, scheme="memory"
        )

    def caller(self, number: int) -> MemoryPort:
        return self.network.port(Address("caller", number))

    async def call(self, number: int) -> tuple[MemoryPort, PeerLink]:
        """A caller who has said its number, and its link."""
        caller = self.caller(number)
        await caller.send(b"%d" % number, RIGHT)
        link = await self.listener.accept()
        assert isinstance(link, PeerLink)
        return caller, link

    async def settle(self) -> None:
        """Let what was sent arrive."""
        await asyncio.sleep(0.001)


def test_strangers_are_dropped_and_counted() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with PortLink(network.port(LEFT), RIGHT, scheme="memory") as link:
            peer, stranger = network.port(RIGHT), network.port(Address("stranger", 1))
            await stranger.send_batch([(b"1", LEFT)] * 3)
            receiving = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            assert not receiving.done()
            await peer.send(b"2", LEFT)
            assert await receiving == b"2"
            assert link.strangers == 3
            assert str(link.peer) == "memory://right:1"

    asyncio.run(main())


def test_a_link_closes_its_port() -> None:
    async def main() -> None:
        port = UdpPort.bind(Address(LOOPBACK, 0))
        async with PortLink(port, Address(LOOPBACK, 9)) as link:
            assert str(link.peer) == "udp://127.0.0.1:9"
        assert port.closed

    asyncio.run(main())


def test_a_peer_has_one_link_and_calls_again_after_its_end() -> None:
    async def main() -> None:
        town = Town()
        assert town.listener.address == "memory://right:1"
        caller, link = await town.call(1)
        await caller.send_batch([(b"2", RIGHT), (b"3", RIGHT)])
        assert [await link.receive() for _ in range(3)] == [b"1", b"2", b"3"]
        await link.send_batch([b"4", b"5"])
        assert await caller.receive_batch() == [(b"4", RIGHT), (b"5", RIGHT)]
        link.close()
        await caller.send(b"6", RIGHT)
        again = await town.listener.accept()
        assert await again.receive() == b"6"
        assert str(again.peer) == str(link.peer) == "memory://caller:1"

    run_jumping(main())


def test_when_all_places_are_taken_the_longest_silent_peer_goes() -> None:
    async def main() -> None:
        town = Town(max_peers=3, idle_s=10.0)
        peers = [await town.call(number) for number in range(3)]
        await asyncio.sleep(8)
        await peers[0][0].send(b"still here", RIGHT)
        await asyncio.sleep(8)
        _, new = await town.call(3)
        assert await new.receive() == b"3"
        silent = peers[1][1]
        assert await silent.receive() == b"1"
        with pytest.raises(LinkClosed, match="new peer"):
            await silent.receive()
        with pytest.raises(LinkClosed, match="new peer"):
            await silent.send(b"anybody?")
        for _, link in (peers[0], peers[2]):
            assert not link.inbox.ended
        silent.close()
        assert not new.inbox.ended

    run_jumping(main())


def test_peers_that_are_heard_keep_their_places() -> None:
    async def main() -> None:
        town = Town(max_peers=2, idle_s=10.0)
        peers = [await town.call(number) for number in range(2)]
        await town.caller(7).send(b"1", RIGHT)
        await town.settle()
        assert town.listener.refused == 1
        assert not any(link.inbox.ended for _, link in peers)
        peers[0][1].close()
        await town.call(8)

    run_jumping(main())


def test_callers_that_nobody_accepts_are_limited() -> None:
    async def main() -> None:
        town = Town(max_peers=1000)
        async with town.listener:
            for number in range(MAX_BACKLOG + 5):
                await town.caller(number).send(b"1", RIGHT)
            await town.settle()
            assert town.listener.refused == 5
            first = await town.listener.accept()
            assert str(first.peer) == "memory://caller:0"
            await town.call(500)

    run_jumping(main())


def test_what_waits_in_all_links_together_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_link, "MAX_WAITING_BYTES", 1000)

    async def main() -> None:
        town = Town()
        (one, first), (two, second) = await town.call(1), await town.call(2)
        for _ in range(12):
            await one.send(bytes(99), RIGHT)
            await town.settle()
        await two.send(bytes(8), RIGHT)
        await town.settle()
        await two.send(bytes(9), RIGHT)
        await town.settle()
        assert town.listener.waiting_bytes == 1000
        assert (first.inbox.lost, second.inbox.lost) == (2, 1)
        assert len(await first.receive_batch()) == 11
        assert town.listener.waiting_bytes == 9
        await one.send(bytes(50), RIGHT)
        await town.settle()
        first.close()
        second.close()
        assert town.listener.waiting_bytes == 0

    run_jumping(main())


def test_the_port_stays_for_as_long_as_somebody_needs_it() -> None:
    async def main() -> None:
        town = Town()
        port = town.listener.port
        assert isinstance(port, MemoryPort)
        caller, link = await town.call(1)
        await town.caller(2).send(b"nobody accepts this", RIGHT)
        await town.settle()
        town.listener.close()
        await town.listener.wait_closed()
        assert not port.closed
        await town.caller(3).send(b"too late", RIGHT)
        await caller.send(b"2", RIGHT)
        assert [await link.receive(), await link.receive()] == [b"1", b"2"]
        assert town.listener.refused == 1
        link.close()
        assert port.closed
        await town.listener.wait_closed()

    run_jumping(main())


def test_a_port_that_is_closed_under_a_listener_ends_all() -> None:
    async def main() -> None:
        town = Town()
        _, link = await town.call(1)
        accepting = asyncio.create_task(town.listener.accept())
        await town.settle()
        town.listener.port.close()
        with pytest.raises(LinkClosed, match="closed"):
            await accepting
        assert await link.receive() == b"1"
        for call in (link.receive(), link.send(b"2"), town.listener.accept()):
            with pytest.raises(LinkClosed):
                await call

    run_jumping(main())


def test_links_of_a_listener_belong_to_its_event_loop() -> None:
    town = Town()

    async def main() -> PeerLink:
        return (await town.call(1))[1]

    link = run_jumping(main())
    for call in (link.receive(), link.send(b"1")):
        with pytest.raises(LocalProtocolError, match="another event loop"):
            asyncio.run(_awaited(call))


async def _awaited(call: Awaitable[object]) -> None:
    await call
