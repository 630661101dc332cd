"""The network in memory: what it does to datagrams, again and again; and its reliable links."""

from __future__ import annotations

import asyncio

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.memory import MAX_UNDER_WAY, MemoryNetwork, MemoryPort, memory_pair
from chancel.wire.types import Address
from tests.links.ends import LEFT, RIGHT
from tests.links.jumping import run_jumping

COUNT = 400


def numbered(count: int = COUNT) -> list[bytes]:
    return [number.to_bytes(2, "big") for number in range(count)]


async def arrived(network: MemoryNetwork, datagrams: list[bytes]) -> list[bytes]:
    """What comes through, from one port to another, an hour later."""
    async with network.port(LEFT) as left, network.port(RIGHT) as right:
        await left.send_batch([(datagram, RIGHT) for datagram in datagrams])
        await asyncio.sleep(3600)
        batch = await right.receive_batch(10_000) if right.inbox else []
        assert all(source == LEFT for _, source in batch)
        return [datagram for datagram, _ in batch]


def test_without_trouble_everything_arrives_in_order() -> None:
    assert run_jumping(arrived(MemoryNetwork(), numbered())) == numbered()


def test_a_seed_repeats_its_trouble() -> None:
    def bad(seed: int) -> list[bytes]:
        network = MemoryNetwork(
            seed, loss=0.2, duplicate=0.2, reorder=0.2, corrupt=0.2, delay_s=1, jitter_s=1
        )
        return run_jumping(arrived(network, numbered()))

    assert bad(1) == bad(1)
    assert bad(1) != bad(2)


def test_loss() -> None:
    network = MemoryNetwork(1, loss=0.25)
    left = run_jumping(arrived(network, numbered()))
    assert left == sorted(set(left))
    assert (network.sent, network.lost) == (COUNT, COUNT - len(left))
    assert 0.6 < len(left) / COUNT < 0.9
    assert run_jumping(arrived(MemoryNetwork(loss=1.0), numbered())) == []


def test_duplicates() -> None:
    doubled = run_jumping(arrived(MemoryNetwork(duplicate=1.0), numbered(10)))
    assert doubled == sorted(numbered(10) * 2)


def test_reordering_loses_nothing() -> None:
    mixed = run_jumping(arrived(MemoryNetwork(1, reorder=0.3), numbered()))
    assert mixed != numbered()
    assert sorted(mixed) == numbered()


def test_corruption_flips_one_bit() -> None:
    damaged = run_jumping(arrived(MemoryNetwork(corrupt=1.0), [bytes(10), b""]))
    assert [sum(byte.bit_count() for byte in datagram) for datagram in damaged] == [1, 0]


def test_jitter_alone_keeps_the_order() -> None:
    network = MemoryNetwork(1, delay_s=0.01, jitter_s=5.0)
    assert run_jumping(arrived(network, numbered())) == numbered()


def test_the_delay_is_that_of_the_loops_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        network = MemoryNetwork(delay_s=0.25)
        left, right = network.port(LEFT), network.port(RIGHT)
        times = []
        for _ in range(3):
            await left.send(b"", RIGHT)
            await asyncio.sleep(0.125)
        for _ in range(3):
            await right.receive()
            times.append(loop.time())
        assert times == pytest.approx([0.375, 0.375, 0.5])

    run_jumping(main())


def test_what_nobody_gets_is_lost() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        left, right = network.port(LEFT), network.port(RIGHT)
        await left.send(b"1", Address("nobody", 1))
        right.close()
        await left.send(b"2", RIGHT)
        assert (network.sent, network.lost) == (2, 2)
        again = network.port(RIGHT)
        await left.send(b"3", RIGHT)
        assert await again.receive() == (b"3", LEFT)

    asyncio.run(main())


def test_what_is_under_way_to_a_port_that_closes_is_gone() -> None:
    async def main() -> None:
        network = MemoryNetwork(delay_s=1)
        left, right = network.port(LEFT), network.port(RIGHT)
        await left.send(b"1", RIGHT)
        right.close()
        again = network.port(RIGHT)
        await asyncio.sleep(2)
        assert len(again.inbox) == 0

    run_jumping(main())


def test_what_a_network_holds_is_bounded() -> None:
    async def main() -> None:
        network = MemoryNetwork(delay_s=1)
        left = network.port(LEFT)
        network.port(RIGHT)
        await left.send_batch([(b"1", RIGHT)] * (MAX_UNDER_WAY + 7))
        assert network.lost == 7

    run_jumping(main())


def test_a_task_that_only_sends_lets_others_run() -> None:
    async def count(turns: list[int]) -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def main() -> None:
        network, turns = MemoryNetwork(), list[int]()
        counting = asyncio.create_task(count(turns))
        port = network.port(LEFT)
        for _ in range(1000):
            await port.send(b"1", RIGHT)
        counting.cancel()
        assert len(turns) > 10

    asyncio.run(main())


def test_addresses_are_not_taken_twice() -> None:
    network = MemoryNetwork()
    network.port(LEFT)
    with pytest.raises(LocalProtocolError, match="choose another"):
        network.port(LEFT)


@pytest.mark.parametrize("wrong", [{"loss": 1.1}, {"corrupt": -0.1}, {"delay_s": -1.0}])
def test_trouble_that_can_not_be(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError):
        MemoryNetwork(0, **wrong)


def test_a_network_stays_in_its_event_loop() -> None:
    network = MemoryNetwork()

    async def send(port: MemoryPort) -> None:
        await port.send(b"1", RIGHT)

    asyncio.run(send(network.port(LEFT)))
    with pytest.raises(LocalProtocolError, match="make a network here"):
        asyncio.run(send(network.port(RIGHT)))


def test_links_through_a_network() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        for _ in range(2):
            left, right = network.links()
            await left.send(b"there")
            await right.send(b"back")
            assert (await right.receive(), await left.receive()) == (b"there", b"back")
            assert not left.reliable
            assert str(left.peer).startswith("memory://")

    asyncio.run(main())


def test_a_reliable_link_delays_and_delivers_what_was_sent_before_its_end() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = memory_pair(delay_s=2.0)
        await left.send(b"1")
        await asyncio.sleep(1.0)
        await left.send(b"2")
        left.close()
        await left.wait_closed()
        assert loop.time() == pytest.approx(3.0)
        assert [message async for message in right] == [b"1", b"2"]
        with pytest.raises(LinkClosed, match="closed by the peer"):
            await right.send(b"3")

    run_jumping(main())


def test_a_full_reliable_link_goes_on_where_the_reader_does() -> None:
    async def main() -> None:
        left, right = memory_pair(limit=3)
        sending = asyncio.create_task(left.send_batch(numbered(10)))
        await asyncio.sleep(0.1)
        assert len(right.inbox) == 3
        assert await right.receive_batch(2) == numbered(2)
        await asyncio.sleep(0.1)
        assert len(right.inbox) == 3
        assert [await right.receive() for _ in range(8)] == numbered(10)[2:]
        await sending

    run_jumping(main())


def test_a_link_can_be_closed_after_its_event_loop() -> None:
    left, right = memory_pair(delay_s=1.0)
    asyncio.run(left.send(b"1"))
    left.close()
    assert right.inbox.ended
