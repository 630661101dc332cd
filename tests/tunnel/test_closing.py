"""The end of a tunnel, at any moment: whoever waits learns of it, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.memory import MemoryLink, MemoryNetwork, Trouble, memory_pair
from chancel.links.udp import UdpPort
from chancel.tunnel import Down, Tunnel
from chancel.wire.types import Address, Buffer
from tests.tunnel.pair import (
    LEFT,
    RIGHT,
    SECRET,
    Diary,
    all_that_comes,
    both_ready,
    left_of,
    linked,
    pair,
    right_of,
    run_jumping,
    wall,
)

CALLS: dict[str, Callable[[Tunnel], Awaitable[object]]] = {
    "send": lambda tunnel: tunnel.send(b"x"),
    "send_batch": lambda tunnel: tunnel.send_batch([b"x"]),
    "receive": lambda tunnel: tunnel.receive(),
    "receive_batch": lambda tunnel: tunnel.receive_batch(),
    "ready": lambda tunnel: tunnel.ready(),
    "async with": lambda tunnel: tunnel.__aenter__(),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
def test_after_close_every_call_is_refused(call: Callable[[Tunnel], Awaitable[object]]) -> None:
    async def main() -> None:
        async with pair() as (left, _):
            left.close()
            left.close()
            with pytest.raises(LocalProtocolError, match="was closed: open another one"):
                await call(left)
            assert left.status().problem == "closed at this end"
            assert not left.is_up
            await left.wait_closed()

    run_jumping(main())


@pytest.mark.parametrize("name", ["receive", "receive_batch", "ready", "send"])
def test_close_wakes_whoever_waits(name: str) -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with pair(network) as (left, _):
            if name != "receive":
                network.trouble = Trouble(loss=1.0)
                await asyncio.sleep(150)
            waiting = asyncio.ensure_future(CALLS[name](left))
            await asyncio.sleep(1)
            assert not waiting.done()
            left.close()
            with pytest.raises(LinkClosed, match="closed at this end"):
                await waiting

    run_jumping(main())


def test_closing_at_any_step_of_coming_up_ends_all_tasks() -> None:
    async def main() -> None:
        for steps in range(60):
            before = asyncio.all_tasks()
            network = MemoryNetwork(delay_s=0.001)
            left, right = left_of(network), right_of(network)
            await left.__aenter__()
            await right.__aenter__()
            for step in range(steps):
                await asyncio.sleep(0 if step % 2 else 0.0005)
            left.close()
            right.close()
            await left.wait_closed()
            await right.wait_closed()
            assert asyncio.all_tasks() == before

    run_jumping(main())


def test_a_tunnel_that_was_never_begun_can_be_closed() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        tunnel = left_of(network)
        tunnel.close()
        await tunnel.wait_closed()
        network.port(LEFT)  # is free again

    run_jumping(main())


def test_closing_the_tunnel_closes_what_is_below() -> None:
    async def main() -> None:
        link, other = memory_pair()
        async with Tunnel(link, SECRET, wall=wall()):
            await asyncio.sleep(0.5)
        assert link.closed
        assert [len(offer) async for offer in other] == [623] * 4

    run_jumping(main())


def test_the_end_of_what_is_below_is_the_end_of_the_tunnel() -> None:
    async def main() -> None:
        async with linked() as (left, right):
            diary = Diary(right)
            await left.send_batch([b"1", b"2"])
            left.close()
            await left.wait_closed()
            assert [message async for message in right] == [b"1", b"2"]
            for call in (right.receive, lambda: right.send(b"x"), right.ready):
                with pytest.raises(LinkClosed, match="closed by the peer"):
                    await call()
            await diary.complete()
            assert diary.events[-1] == Down("closed by the peer")
            assert not right.closed

    run_jumping(main())


def test_a_port_that_somebody_else_closes_ends_the_tunnel() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        port = network.port(LEFT)
        async with right_of(network), Tunnel(port, SECRET, RIGHT, wall=wall()) as left:
            await left.ready(5)
            port.close()
            with pytest.raises(LinkClosed):
                await left.send(b"x")
            with pytest.raises(LinkClosed):
                await left.receive()

    run_jumping(main())


@pytest.mark.parametrize("steps", range(12))
def test_a_cancelled_call_loses_nothing(steps: int) -> None:
    async def main() -> None:
        async with pair() as (left, right):
            for name in ("receive", "receive_batch"):
                waiting = asyncio.ensure_future(CALLS[name](right))
                await asyncio.sleep(0)
                await left.send(b"kept")
                for _ in range(steps):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
                if waiting.cancelled():
                    assert await right.receive() == b"kept"
            sending = asyncio.ensure_future(left.send_batch([b"a", b"b"]))
            for _ in range(steps):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            arrived = await all_that_comes(right)
            assert arrived == [b"a", b"b"][: len(arrived)]
            if not sending.cancelled():
                assert len(arrived) == 2
            await left.send(b"goes on")
            assert await right.receive() == b"goes on"

    run_jumping(main())


def test_another_event_loop_is_refused() -> None:
    network = MemoryNetwork()
    tunnel = left_of(network)

    async def begin() -> None:
        await tunnel.__aenter__()

    async def use(call: Callable[[Tunnel], Awaitable[object]]) -> None:
        with pytest.raises(LocalProtocolError, match="another event loop"):
            await call(tunnel)

    run_jumping(begin())
    for call in CALLS.values():
        run_jumping(use(call))
    tunnel.close()  # from outside of any loop, the one it was used in being closed


def test_events_end_with_the_tunnel() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            waiting = [asyncio.ensure_future(Diary(end).complete()) for end in (left, right)]
            await asyncio.sleep(1)
        async with asyncio.timeout(1):
            await asyncio.gather(*waiting)

    run_jumping(main())


def test_events_that_nobody_reads_are_bounded() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with right_of(network) as right:
            for _ in range(100):
                async with left_of(network) as left:
                    await both_ready(left, right)
                    await asyncio.sleep(4)
            right.close()
            assert len([event async for event in right.events()]) == 256

    run_jumping(main())


def test_a_fault_in_the_tunnel_ends_it_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        reported: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
        async with pair() as (left, right):
            monkeypatch.setattr(right._session, "receive_batch", lambda *_: 1 // 0)
            await left.send(b"x")
            with pytest.raises(LinkClosed, match="ZeroDivisionError"):
                await right.receive()
            assert isinstance(reported[0]["exception"], ZeroDivisionError)

    run_jumping(main())


def test_a_closed_tunnel_keeps_no_keys() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            session = weakref.ref(left._session)
            assert session() is not None
        gc.collect()
        assert session() is None
        assert left.status().session is not None
        tunnel = weakref.ref(left)
        del left, right
        gc.collect()
        assert tunnel() is None

    run_jumping(main())


def test_a_tunnel_that_is_cancelled_while_it_begins_is_closed() -> None:
    async def main() -> None:
        class Slow(MemoryLink):
            async def __aenter__(self) -> Self:
                await asyncio.sleep(60)
                return await super().__aenter__()

        link = Slow("slow", 2000, 10, 0.0)
        link.other = memory_pair()[0]
        tunnel = Tunnel(link, SECRET)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), tunnel:
                pytest.fail("it began")
        assert tunnel.closed
        assert link.closed

    run_jumping(main())


def test_closing_waits_for_no_slow_line() -> None:
    async def main() -> None:
        class Slow(MemoryLink):
            async def send_batch(self, messages: Sequence[Buffer]) -> None:
                await asyncio.sleep(60)
                await super().send_batch(messages)

        link = Slow("slow", 2000, 10, 0.0)
        link.other = memory_pair()[0]
        async with Tunnel(link, SECRET, wall=wall()):
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 1

    run_jumping(main())


def test_a_tunnel_whose_task_is_cancelled_says_so() -> None:
    async def main() -> None:
        async with pair() as (left, _):
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            with pytest.raises(LinkClosed, match="task was cancelled"):
                await left.receive()
            assert "task was cancelled" in str(left.status().problem)

    run_jumping(main())


def test_an_address_that_the_port_refuses_is_named() -> None:
    async def main() -> None:
        port = UdpPort.bind(Address("127.0.0.1", 0))
        async with Tunnel(port, SECRET, peer=Address("localhost", 4000)) as tunnel:
            with pytest.raises(LinkClosed, match="'localhost' is not a numeric IP address"):
                await tunnel.ready(0.3)

    asyncio.run(main())


def test_what_carries_a_tunnel_carries_no_other_and_stays_open() -> None:
    """Two on one port would take each other's datagrams."""

    async def main() -> None:
        network = MemoryNetwork()
        port = network.port(LEFT)
        left, right = Tunnel(port, SECRET, RIGHT, wall=wall()), right_of(network)
        async with left, right:
            await both_ready(left, right)
            with pytest.raises(LocalProtocolError, match="carries another tunnel"):
                await Tunnel(port, SECRET, RIGHT, wall=wall()).__aenter__()
            await left.send(b"x")
            assert await right.receive() == b"x"

    run_jumping(main())
