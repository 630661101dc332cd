"""What a session has to say goes out in turn, and only the newest of it."""

from __future__ import annotations

import asyncio

from chancel.links.memory import memory_pair
from chancel.tunnel.carrier import LINK_PEER, LINK_WORDS, LinkCarrier
from chancel.tunnel.voice import Voice
from chancel.wire.types import Address
from tests.tunnel.pair import run_jumping


def words(*numbers: int) -> list[tuple[bytes, Address]]:
    return [(bytes([number]), LINK_PEER) for number in numbers]


def test_words_wait_for_their_turn_and_the_oldest_give_way() -> None:
    async def main() -> None:
        link, other = memory_pair()
        turn = asyncio.Lock()
        voice = Voice(LinkCarrier(link), turn)
        async with turn:
            for number in range(LINK_WORDS + 3):
                voice.say(words(number))
                await asyncio.sleep(0.1)
            assert not other.inbox
        await voice.wait_silent()
        assert await other.receive_batch() == [bytes([n]) for n in range(3, LINK_WORDS + 3)]
        assert voice.unsaid == 3

    run_jumping(main())


def test_whoever_says_something_does_not_wait() -> None:
    async def main() -> None:
        link, other = memory_pair(limit=1)
        voice = Voice(LinkCarrier(link), asyncio.Lock())
        for number in range(40):
            voice.say(words(number))
            await asyncio.sleep(0.1)
        arrived = [await other.receive() for _ in range(2 + LINK_WORDS)]
        assert arrived == [b"\0", b"\1", *[bytes([n]) for n in range(40 - LINK_WORDS, 40)]]
        assert voice.unsaid == 40 - 2 - LINK_WORDS

    run_jumping(main())


def test_a_closed_carrier_is_somebody_elses_trouble() -> None:
    async def main() -> None:
        link, _ = memory_pair()
        link.close()
        voice = Voice(LinkCarrier(link), asyncio.Lock())
        voice.say(words(1, 2))
        await voice.wait_silent()
        assert voice.unsaid == 2

    run_jumping(main())


def test_a_voice_that_is_cancelled_is_silent_at_once() -> None:
    async def main() -> None:
        link, other = memory_pair(limit=1)
        voice = Voice(LinkCarrier(link), asyncio.Lock())
        voice.say(words(1, 2, 3))
        await asyncio.sleep(1)
        voice.cancel()
        await voice.wait_silent()
        assert await other.receive_batch() == [b"\1"]
        await asyncio.sleep(1)
        assert not other.inbox

    run_jumping(main())
