"""Rules about pressure: a sender against a reader that doesn't read, and many senders at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from chancel.links.conformance.checking import Rule, Terms, expect, pause, running
from chancel.links.conformance.courier import FLOOD_BYTES, Courier
from chancel.links.interface import Link

_SENDERS = 8
_EACH = 8


async def memory_is_bounded(left: Link, right: Link, terms: Terms) -> None:
    """Against a reader that doesn't read, send waits, or an unreliable link loses."""
    courier = Courier(left, right, terms)
    sent, waiting = await courier.flood()
    if waiting is None:
        expect(not courier.reliable, f"{FLOOD_BYTES >> 20} MiB were taken over, and no send waited")
        arrived = await courier.until_silence()
        expect(
            len(set(arrived)) < len(sent),
            f"all of {FLOOD_BYTES >> 20} MiB arrived later: nothing bounds what is held",
        )
        courier.judge(sent, arrived, all_of=False)
    else:
        arrived = await courier.taken_while(waiting, len(sent))
        courier.judge(sent, arrived, all_of=courier.reliable)


async def a_slow_reader_loses_nothing(left: Link, right: Link, terms: Terms) -> None:
    """A reliable link waits for a slow reader and loses nothing."""
    if not left.reliable:
        return
    courier = Courier(left, right, terms)
    sent = courier.messages(300, 2000)
    async with running(left.send_batch(sent)) as sending:
        arrived: list[bytes] = []
        while len(arrived) < len(sent):
            await pause(3)
            arrived.append(await right.receive())
        await sending
    courier.judge(sent, arrived + await courier.rest(), all_of=True)


async def several_tasks_send(left: Link, right: Link, terms: Terms) -> None:
    """Several tasks may send at once: each task's messages arrive whole and in its order."""
    courier = Courier(left, right, terms)
    per_task = [courier.messages(_EACH, 24 + 400 * sender) for sender in range(_SENDERS)]

    async def send(messages: list[bytes]) -> None:
        for message in messages:
            await left.send(message)
            await asyncio.sleep(0)

    async with running(_all(send(messages) for messages in per_task)) as sending:
        arrived = await courier.taken_while(sending, _SENDERS * _EACH)
    everything = {message for messages in per_task for message in messages}
    expect(everything.issuperset(arrived), "something arrived that nobody had sent")
    for messages in per_task:
        own = [message for message in arrived if message in messages]
        courier.judge(messages, own, all_of=True)


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*calls)


PRESSURE: tuple[Rule[Link, Link], ...] = (
    memory_is_bounded,
    a_slow_reader_loses_nothing,
    several_tasks_send,
)
