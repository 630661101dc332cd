"""Rules about cancelling: at whatever step a call is cancelled, nothing is lost or torn."""

from __future__ import annotations

import asyncio

from chancel.links.conformance.checking import (
    MAX_STEPS,
    Rule,
    Terms,
    cancelled_after,
    expect,
    pause,
    running,
)
from chancel.links.conformance.courier import Courier
from chancel.links.interface import Link

_LARGE = 64 << 10
"""Most transports need several writes for it, between which a send can be torn."""

_WAITING = 6
"""Sends that are cancelled while a link takes nothing."""


async def receive_after_the_message(left: Link, right: Link, terms: Terms) -> None:
    """A cancelled receive leaves its message for the next one."""
    courier = Courier(left, right, terms)
    for steps in range(MAX_STEPS):
        message = courier.message()
        await left.send(message)
        async with running(right.receive()) as receiving:
            completed = await cancelled_after(steps, receiving)
            arrived = [await receiving] if completed else []
        courier.judge([message], arrived + await courier.rest(), all_of=True)
        if completed:
            return


async def receive_before_the_message(left: Link, right: Link, terms: Terms) -> None:
    """A receive that is cancelled while its message arrives leaves it for the next one."""
    courier = Courier(left, right, terms)
    for steps in range(MAX_STEPS):
        message = courier.message()
        async with running(right.receive()) as receiving:
            await pause(3)
            await left.send(message)
            completed = await cancelled_after(steps, receiving)
            arrived = [await receiving] if completed else []
        courier.judge([message], arrived + await courier.rest(), all_of=True)
        if completed:
            return


async def receive_batch_is_cancelled(left: Link, right: Link, terms: Terms) -> None:
    """A cancelled receive_batch leaves its messages for the next call."""
    courier = Courier(left, right, terms)
    for steps in range(MAX_STEPS):
        sent = courier.messages(5)
        async with running(right.receive_batch()) as receiving:
            await pause(3)
            async with running(left.send_batch(sent)) as sending:
                completed = await cancelled_after(steps, receiving)
                arrived = await receiving if completed else []
                arrived = arrived + await courier.taken_while(sending, len(sent) - len(arrived))
        courier.judge(sent, arrived, all_of=True)
        if completed:
            return


async def send_is_cancelled(left: Link, right: Link, terms: Terms) -> None:
    """A cancelled send has sent its message whole or not at all, and the link goes on."""
    courier = Courier(left, right, terms)
    for steps in range(MAX_STEPS):
        message = courier.message(_LARGE)
        async with running(left.send(message)) as sending:
            completed = await cancelled_after(steps, sending)
            if completed:
                await sending
        courier.judge([message], await courier.rest(), all_of=completed)
        if completed:
            return


async def send_batch_is_cancelled(left: Link, right: Link, terms: Terms) -> None:
    """A cancelled send_batch has sent its first messages, each of them whole."""
    courier = Courier(left, right, terms)
    for steps in range(MAX_STEPS):
        sent = courier.messages(6, 4000)
        async with running(left.send_batch(sent)) as sending:
            completed = await cancelled_after(steps, sending)
            if completed:
                await sending
        arrived = await courier.rest()
        courier.judge(sent, arrived, all_of=completed)
        if courier.reliable:
            expect(arrived == sent[: len(arrived)], "others than the first messages were sent")
        if completed:
            return


async def waiting_sends_are_cancelled(left: Link, right: Link, terms: Terms) -> None:
    """A send that is cancelled while it waits for room is sent whole or not at all."""
    courier = Courier(left, right, terms)
    sent, waiting = await courier.until_a_send_waits()
    if waiting is None:
        return  # an unreliable link loses instead
    certain = sent[:-1]
    for steps in range(_WAITING):
        if await cancelled_after(steps, waiting):
            await waiting
            certain.append(sent[-1])
        sent.append(courier.message(_LARGE))
        waiting = asyncio.create_task(left.send(sent[-1]))
    await cancelled_after(_WAITING, waiting)
    arrived = await (courier.rest() if courier.reliable else courier.until_silence())
    courier.judge(sent, arrived, all_of=False)
    if courier.reliable:
        missing = len(set(certain).difference(arrived))
        expect(not missing, f"{missing} messages are missing that were sent before")
    await courier.carry(courier.message())


async def wait_closed_is_cancelled(left: Link, right: Link, terms: Terms) -> None:
    """A cancelled wait_closed can be awaited again, and what was sent before still arrives."""
    courier = Courier(left, right, terms)
    sent = courier.message(_LARGE)
    await left.send(sent)
    left.close()
    async with running(left.wait_closed()) as closing:
        await cancelled_after(1, closing)
    if courier.reliable:
        courier.judge([sent], [message async for message in right], all_of=True)
    await left.wait_closed()


CANCELLING: tuple[Rule[Link, Link], ...] = (
    receive_after_the_message,
    receive_before_the_message,
    receive_batch_is_cancelled,
    send_is_cancelled,
    send_batch_is_cancelled,
    waiting_sends_are_cancelled,
    wait_closed_is_cancelled,
)
