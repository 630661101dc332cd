# ruff: noqa: ARG001 - all rules take the same arguments
"""Rules about the end: closing takes effect at once, wakes whoever waits, and loses nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.conformance.checking import Rule, Terms, expect, expect_raised, pause, running
from chancel.links.conformance.courier import Courier
from chancel.links.interface import Link

_MAX_SENDS = 10_000
"""Sends after which a reliable link must have noticed that its peer is gone."""


async def close_can_be_repeated(left: Link, right: Link, terms: Terms) -> None:
    """close may be called again, and wait_closed may be awaited again."""
    await Courier(left, right, terms).carry(b"1")
    for _ in range(2):
        left.close()
        await left.wait_closed()


async def close_before_use(left: Link, right: Link, terms: Terms) -> None:
    """A link that was never used can be closed."""
    left.close()
    with expect_raised(LocalProtocolError, "send after close"):
        await left.send(b"1")
    await left.wait_closed()


async def a_closed_link_is_not_used(left: Link, right: Link, terms: Terms) -> None:
    """After close, every call raises LocalProtocolError."""
    courier = Courier(left, right, terms)
    await courier.carry(b"1")
    await right.send(b"what is not received before close is gone")
    left.close()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "send": lambda: left.send(b"1"),
        "send_batch": lambda: left.send_batch([b"1"]),
        "receive": left.receive,
        "receive_batch": left.receive_batch,
        "async with": left.__aenter__,
        "async for": lambda: anext(aiter(left)),
    }
    for name, call in calls.items():
        with expect_raised(LocalProtocolError, f"{name} after close"):
            await call()


async def async_with_closes(left: Link, right: Link, terms: Terms) -> None:
    """async with gives the link itself, and closes it."""
    async with left as entered:
        expect(entered is left, "async with gives another object")
        await Courier(left, right, terms).carry(b"1")
    with expect_raised(LocalProtocolError, "send after async with"):
        await left.send(b"1")


async def close_wakes_receive(left: Link, right: Link, terms: Terms) -> None:
    """close makes a receive that waits raise LinkClosed."""
    async with running(left.receive()) as waiting:
        await pause(3)
        left.close()
        with expect_raised(LinkClosed, "a receive that waited"):
            await waiting


async def close_wakes_send(left: Link, right: Link, terms: Terms) -> None:
    """close makes a send that waits raise LinkClosed."""
    _, waiting = await Courier(left, right, terms).until_a_send_waits()
    if waiting is not None:
        left.close()
        with expect_raised(LinkClosed, "a send that waited"):
            await waiting
    right.close()


async def iteration_ends_at_close(left: Link, right: Link, terms: Terms) -> None:
    """async for ends when the link is closed meanwhile, waiting or not."""
    courier = Courier(right, left, terms)
    sent = courier.message()

    async def iterate() -> list[bytes]:
        return [message async for message in left]

    if not courier.loses:
        async with running(iterate()) as iterating:
            await right.send(sent)
            await pause(3)
            left.close()
            arrived = await iterating
        courier.judge([sent], arrived, all_of=False)


async def closing_in_the_loop_ends_it(left: Link, right: Link, terms: Terms) -> None:
    """async for ends when its body closes the link."""
    courier = Courier(right, left, terms)
    await right.send_batch([courier.message()] * (10 if courier.loses else 1))
    async for _ in left:
        left.close()


async def the_rest_is_received(left: Link, right: Link, terms: Terms) -> None:
    """When the peer of a reliable link has closed, the rest is received; then LinkClosed."""
    if not left.reliable:
        return
    courier = Courier(left, right, terms)
    sent = courier.messages(40, 5000)
    async with running(left.send_batch(sent)) as sending:
        arrived = [await right.receive() for _ in sent[:-1]]
        await sending
    left.close()
    async with running(left.wait_closed()) as closing:
        arrived += [message async for message in right]
        await closing
    courier.judge(sent, arrived, all_of=True)
    for name, call in (("receive", right.receive), ("receive_batch", right.receive_batch)):
        for _ in range(2):
            with expect_raised(LinkClosed, f"{name} after the peer had closed"):
                await call()


async def send_notices_the_end(left: Link, right: Link, terms: Terms) -> None:
    """When the peer of a reliable link has closed, send raises LinkClosed sooner or later."""
    if not left.reliable:
        return
    await Courier(left, right, terms).carry(b"1")
    right.close()
    with expect_raised(LinkClosed, f"one of {_MAX_SENDS} sends after the peer had closed"):
        for _ in range(_MAX_SENDS):
            await left.send(b"1")
            await pause(1)


async def the_peer_wakes_receive(left: Link, right: Link, terms: Terms) -> None:
    """When the peer of a reliable link closes, a receive that waits raises LinkClosed."""
    if not left.reliable:
        return
    async with running(left.receive()) as waiting:
        await pause(3)
        right.close()
        with expect_raised(LinkClosed, "a receive that waited"):
            await waiting


async def the_peer_wakes_send(left: Link, right: Link, terms: Terms) -> None:
    """When the peer of a reliable link closes, a send that waits raises LinkClosed."""
    if not left.reliable:
        return
    _, waiting = await Courier(left, right, terms).until_a_send_waits()
    expect(waiting is not None, "no send ever waited")
    assert waiting is not None
    right.close()
    with expect_raised(LinkClosed, "a send that waited"):
        await waiting


CLOSING: tuple[Rule[Link, Link], ...] = (
    close_can_be_repeated,
    close_before_use,
    a_closed_link_is_not_used,
    async_with_closes,
    close_wakes_receive,
    close_wakes_send,
    iteration_ends_at_close,
    closing_in_the_loop_ends_it,
    the_rest_is_received,
    send_notices_the_end,
    the_peer_wakes_receive,
    the_peer_wakes_send,
)
