"""What waits to be sent: in order, within its limit, and safe to cancel."""

from __future__ import annotations

import asyncio

import pytest

from chancel.errors import LinkClosed
from chancel.links.outbox import Outbox
from tests.links.jumping import run_jumping


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def drained(outbox: Outbox[int]) -> list[int]:
    """All that is in it, and what comes into the room that this makes."""
    items: list[int] = []
    while len(outbox):
        items.append(await outbox.first())
        outbox.sent()
        await steps()
    return items


def test_those_who_wait_get_their_turn_in_order() -> None:
    async def test() -> None:
        outbox: Outbox[int] = Outbox(2)
        putting = [asyncio.create_task(outbox.put(number)) for number in range(6)]
        await steps()
        assert [task.done() for task in putting] == [True, True, False, False, False, False]
        assert len(outbox) == 2
        assert await drained(outbox) == list(range(6))
        await asyncio.gather(*putting)

    run_jumping(test())


def test_an_item_takes_up_room_until_it_was_sent() -> None:
    async def test() -> None:
        outbox: Outbox[int] = Outbox(1)
        await outbox.put(1)
        putting = asyncio.create_task(outbox.put(2))
        assert await outbox.first() == 1
        await steps()
        assert not putting.done()
        outbox.sent()
        await putting
        assert await outbox.first() == 2

    run_jumping(test())


@pytest.mark.parametrize("cancelled", range(3))
@pytest.mark.parametrize("turn_came_first", [False, True])
def test_who_gives_up_has_put_nothing_and_holds_up_nobody(
    cancelled: int, turn_came_first: bool
) -> None:
    async def test() -> None:
        outbox: Outbox[int] = Outbox(1)
        await outbox.put(-1)
        putting = [asyncio.create_task(outbox.put(number)) for number in range(3)]
        await steps()
        if turn_came_first:
            outbox.sent()
        putting[cancelled].cancel()
        await steps()
        items = await drained(outbox)
        expected = [number for number in range(3) if number != cancelled]
        assert [number for number in items if number >= 0] == expected
        assert putting[cancelled].cancelled()

    run_jumping(test())


def test_the_end_keeps_what_was_taken_over_and_refuses_the_rest() -> None:
    async def test() -> None:
        outbox: Outbox[int] = Outbox(1)
        await outbox.put(1)
        putting = asyncio.create_task(outbox.put(2))
        await steps()
        outbox.end("why")
        outbox.end("another reason")
        with pytest.raises(LinkClosed, match=r"^why$"):
            await putting
        with pytest.raises(LinkClosed, match=r"^why$"):
            await outbox.put(3)
        assert await drained(outbox) == [1]
        with pytest.raises(LinkClosed, match=r"^why$"):
            await outbox.first()

    run_jumping(test())


def test_the_end_wakes_who_waits_for_an_item_and_may_discard() -> None:
    async def test() -> None:
        outbox: Outbox[int] = Outbox(1)
        taking = asyncio.create_task(outbox.first())
        await steps()
        outbox.end("why")
        with pytest.raises(LinkClosed):
            await taking
        other: Outbox[int] = Outbox(1)
        await other.put(1)
        assert await other.first() == 1
        other.end("why", discard=True)
        other.sent()
        with pytest.raises(LinkClosed):
            await other.first()

    run_jumping(test())
