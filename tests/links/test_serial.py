"""Serial links on pseudo-terminals, good ones and noisy ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import serial
from chancel.links.conformance import check_link
from chancel.links.framing import Cobs, Slip
from chancel.links.interface import Link
from chancel.links.serial import Framing, SerialLink
from chancel.tunnel import Tunnel
from tests.links import bulk
from tests.links.ttys import Cable, Noise, cable

PATIENCE_S = 60.0


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test, and don't let it hang."""
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


@contextlib.asynccontextmanager
async def ends(wire: Cable, framing: Framing = "cobs") -> AsyncIterator[list[SerialLink]]:
    """A link on each end of a cable."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(await serial.connect(device, framing=framing))
            for device in (wire.left, wire.right)
        ]


@pytest.mark.parametrize("framing", ["cobs", "slip"])
def test_it_keeps_the_rules(framing: Framing) -> None:
    @contextlib.asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Link, Link]]:
        async with cable() as wire, ends(wire, framing) as (left, right):
            yield left, right

    asyncio.run(check_link(pair))


@pytest.mark.parametrize("framing", ["cobs", "slip"])
def test_every_byte_passes(framing: Framing) -> None:
    """Among them those that a terminal interprets: interrupt, end of file, XON, XOFF, CR, LF."""

    async def test() -> None:
        async with cable() as wire, ends(wire, framing) as (left, right):
            for size in (0, 1, 253, 254, 255, left.max_message):
                message = bytes(number & 0xFF for number in range(size))
                await left.send(message)
                assert await right.receive() == message
            await right.send(bytes(256))
            assert await left.receive() == bytes(256)

    run(test)


@pytest.mark.parametrize("framing", ["cobs", "slip"])
@pytest.mark.parametrize("seed", range(3))
def test_noise_costs_messages_and_alters_none(framing: Framing, seed: int) -> None:
    noise = Noise(seed, 1 / 2000)
    contents = random.Random(seed)
    messages = [contents.randbytes(contents.randrange(600)) + bytes((7,)) for _ in range(300)]

    async def test() -> None:
        async with cable(there=noise) as wire, ends(wire, framing) as (left, right):
            arriving = asyncio.create_task(until(right, b"end"))
            await left.send_batch(messages)
            noise.probability = 1e-12
            await left.send(b"end")
            await left.send(b"end")  # the first may end a damaged frame of the time before
            arrived = await arriving
            lost = len(messages) - len(arrived)
            assert is_part_of(arrived, messages)
            assert noise.done > 0
            assert 0 < lost <= noise.done
            assert 0 < sum(right.drops.values()) <= 2 * noise.done

    run(test)


async def until(link: SerialLink, last: bytes) -> list[bytes]:
    arrived: list[bytes] = []
    while (message := await link.receive()) != last:
        arrived.append(message)
    return arrived


def is_part_of(arrived: list[bytes], sent: list[bytes]) -> bool:
    """Whether nothing was altered, and the order is that of sending."""
    rest = iter(sent)
    return all(message in rest for message in arrived)


def test_a_slow_reader_holds_up_the_sender_and_loses_nothing() -> None:
    messages = [number.to_bytes(4, "big") * 300 for number in range(2000)]

    async def test() -> None:
        async with cable() as wire, ends(wire) as (left, right):
            sending = asyncio.create_task(left.send_batch(messages))
            await asyncio.wait([sending], timeout=1.0)
            assert not sending.done()
            assert [await right.receive() for _ in messages] == messages
            assert right.inbox.lost == 0
            await sending

    run(test)


def test_what_was_sent_before_closing_leaves() -> None:
    async def test() -> None:
        async with cable() as wire, ends(wire) as (left, right):
            await left.send_batch([b"one", b"two"])
            left.close()
            await left.wait_closed()
            assert [await right.receive(), await right.receive()] == [b"one", b"two"]
            with pytest.raises(LocalProtocolError, match="was closed"):
                await left.send(b"three")

    run(test)


def test_a_stuck_line_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "LINGER_S", 0.05)

    async def test() -> None:
        async with cable() as wire, await serial.connect(wire.left) as link:
            sending = asyncio.create_task(link.send_batch([bytes(1000)] * 10_000))
            await asyncio.wait([sending], timeout=0.5)
            assert not sending.done()
            link.close()
            with pytest.raises(LinkClosed, match="closed at this end"):
                await sending
            await link.wait_closed()
            async with await serial.connect(wire.left):  # nobody holds it any more
                pass

    run(test)


def test_pulling_out_the_line_ends_the_link() -> None:
    async def test() -> None:
        async with cable() as wire, ends(wire) as (left, right):
            await left.send(b"before")
            assert await right.receive() == b"before"
            receiving = asyncio.create_task(right.receive())
            await asyncio.sleep(0)
            await wire.pull_out()
            with pytest.raises(LinkClosed, match="the line is gone"):
                await receiving
            with pytest.raises(LinkClosed, match="the line is gone"):
                await left.send_batch([b"after"] * 1000)
            assert not os.path.exists(wire.left)  # noqa: PTH110

    run(test)


def test_another_program_cannot_read_along() -> None:
    async def test() -> None:
        async with cable() as wire, await serial.connect(wire.left):
            with pytest.raises(LinkClosed, match="can't open"):
                await serial.connect(wire.left)

    run(test)


def test_a_device_that_is_not_there() -> None:
    async def test() -> None:
        with pytest.raises(LinkClosed, match="can't open /dev/tty-not-there"):
            await serial.connect("/dev/tty-not-there")

    run(test)


@pytest.mark.parametrize("options", [{"framing": "hdlc"}, {"flow": "xonxoff"}, {"baud": -1}])
def test_settings_that_do_not_exist(options: dict[str, str]) -> None:
    async def test() -> None:
        async with cable() as wire:
            with pytest.raises(LocalProtocolError, match="choose"):
                await serial.connect(wire.left, **options)  # type: ignore[arg-type]

    run(test)


def test_the_peer_is_named_after_the_device() -> None:
    async def test() -> None:
        async with cable() as wire, ends(wire) as (left, _):
            assert left.peer.name == f"serial://{wire.left}"
            assert not left.reliable

    run(test)


def test_frames_are_those_of_the_framer() -> None:
    """What a peer that isn't ours would see, and may send."""

    async def test() -> None:
        async with cable() as wire:
            for framing, framer in (("cobs", Cobs()), ("slip", Slip())):
                link = await serial.connect(wire.left, framing=framing)  # type: ignore[arg-type]
                other = os.open(wire.right, os.O_RDWR | os.O_NOCTTY)
                try:
                    async with link:
                        await link.send(b"\0\xc0\xdb")
                        expected = framer.encode(b"\0\xc0\xdb")
                        seen = await asyncio.to_thread(os.read, other, 100)
                        assert seen == expected
                        os.write(other, framer.encode(b"hello"))
                        assert await link.receive() == b"hello"
                finally:
                    os.close(other)

    run(test)


@pytest.mark.timeout(bulk.TIMEOUT_S)
@pytest.mark.parametrize("framing", ["cobs", "slip"])
def test_a_tunnel_carries_much_through_noise(framing: Framing) -> None:
    there, back = Noise(1, 1e-5), Noise(2, 1e-5)

    async def test() -> None:
        async with cable(there, back) as wire, ends(wire, framing) as (left, right):
            alice, bob = Tunnel(left, bytes(32)), Tunnel(right, bytes(32))
            async with alice, bob:
                await asyncio.gather(alice.ready(), bob.ready())
                missing = await bulk.carry(alice, bob)
            assert there.done > 0
            assert 0 < missing < 0.05 * bulk.MEGABYTES * 1000

    asyncio.run(test())
