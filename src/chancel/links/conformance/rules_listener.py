# ruff: noqa: ARG001 - all rules take the same arguments
"""Rules about listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.conformance.checking import (
    MAX_STEPS,
    MakeEnds,
    Rule,
    Terms,
    cancelled_after,
    expect,
    expect_raised,
    pause,
    running,
)
from chancel.links.conformance.courier import Courier
from chancel.links.conformance.rules_use import expect_refused_elsewhere
from chancel.links.interface import Link, Listener

Dial = Callable[[], Awaitable[Link]]
"""Calls the listener; returns the caller's link."""

MakeListener = MakeEnds[Listener, Dial]

_CALLERS = 5


async def describes_itself(listener: Listener, dial: Dial, terms: Terms) -> None:
    """A listener says what it is."""
    expect(isinstance(listener, Listener), f"{listener!r} lacks a member of Listener")
    address = listener.address
    expect(isinstance(address, str) and address != "", f"address is {address!r}")


async def each_caller_gets_a_link(listener: Listener, dial: Dial, terms: Terms) -> None:
    """Each caller gets a link of its own, on which its messages and answers travel."""
    callers = [await _called(dial, number) for number in range(_CALLERS)]
    links = [await listener.accept() for _ in callers]
    by_number = {(await link.receive())[0]: link for link in links}
    expect(sorted(by_number) == list(range(_CALLERS)), f"links of {sorted(by_number)} were given")
    for number, caller in enumerate(callers):
        there = Courier(caller, by_number[number], terms, first=1000 * number)
        back = Courier(by_number[number], caller, terms, first=1000 * number + 500)
        await there.carry(there.message())
        await back.carry(back.message())
    await _close_all([*callers, *links])


async def accept_is_cancelled(listener: Listener, dial: Dial, terms: Terms) -> None:
    """A cancelled accept leaves its caller for the next one."""
    for steps in range(MAX_STEPS):
        task = asyncio.create_task(listener.accept())
        await pause(1)
        caller = await _called(dial, steps)
        completed = await cancelled_after(steps, task)
        link = task.result() if completed else await listener.accept()
        expect(await link.receive() == bytes([steps]), "the link is that of another caller")
        await _close_all([caller, link])
        if completed:
            return


async def close_wakes_accept(listener: Listener, dial: Dial, terms: Terms) -> None:
    """close makes an accept that waits raise LinkClosed."""
    async with running(listener.accept()) as waiting:
        await pause(3)
        listener.close()
        with expect_raised(LinkClosed, "an accept that waited"):
            await waiting


async def a_closed_listener_is_not_used(listener: Listener, dial: Dial, terms: Terms) -> None:
    """After close, which may be repeated, every call raises LocalProtocolError."""
    for _ in range(2):
        listener.close()
        await listener.wait_closed()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "accept": listener.accept,
        "async with": listener.__aenter__,
        "async for": lambda: anext(aiter(listener)),
    }
    for name, call in calls.items():
        with expect_raised(LocalProtocolError, f"{name} after close"):
            await call()


async def accepted_links_stay(listener: Listener, dial: Dial, terms: Terms) -> None:
    """Links that were accepted stay when the listener is closed."""
    caller = await _called(dial, 7)
    link = await listener.accept()
    expect(await link.receive() == b"\7", "the first message is missing")
    listener.close()
    there, back = Courier(caller, link, terms), Courier(link, caller, terms, first=1000)
    await there.carry(there.message())
    await back.carry(back.message())
    await _close_all([caller, link])
    await listener.wait_closed()


async def iteration_gives_links(listener: Listener, dial: Dial, terms: Terms) -> None:
    """async for gives the links of callers, and ends when its body closes the listener."""
    callers = [await _called(dial, number) for number in range(2)]
    links: list[Link] = []
    async for link in listener:
        links.append(link)
        if len(links) == len(callers):
            listener.close()
    numbers = sorted([(await link.receive())[0] for link in links])
    expect(numbers == [0, 1], f"links of the callers {numbers} were given")
    await _close_all([*callers, *links])


async def one_event_loop(listener: Listener, dial: Dial, terms: Terms) -> None:
    """A listener that was used in one event loop raises LocalProtocolError in another one."""
    caller = await _called(dial, 1)
    link = await listener.accept()
    await expect_refused_elsewhere("accept", listener.accept, terms)
    await _close_all([caller, link])


LISTENING: tuple[Rule[Listener, Dial], ...] = (
    describes_itself,
    each_caller_gets_a_link,
    accept_is_cancelled,
    close_wakes_accept,
    a_closed_listener_is_not_used,
    accepted_links_stay,
    iteration_gives_links,
    one_event_loop,
)


async def _called(dial: Dial, number: int) -> Link:
    """A caller's link on which one message, its number, was sent: the first sign of a datagram."""
    link = await dial()
    await link.send(bytes([number]))
    return link


async def _close_all(links: list[Link]) -> None:
    for link in links:
        link.close()
    for link in links:
        await link.wait_closed()
