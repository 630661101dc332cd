"""Rules about use that is forbidden: two readers, another event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from chancel.errors import LocalProtocolError
from chancel.links.conformance.checking import (
    Rule,
    Terms,
    expect,
    expect_raised,
    fail,
    pause,
    running,
)
from chancel.links.conformance.courier import Courier
from chancel.links.interface import Link


async def one_task_receives(left: Link, right: Link, terms: Terms) -> None:
    """A second task that receives gets LocalProtocolError, and the first one its message."""
    courier = Courier(right, left, terms)
    message = courier.message()
    async with running(left.receive()) as first:
        await pause(3)
        for name, call in (("receive", left.receive), ("receive_batch", left.receive_batch)):
            with expect_raised(LocalProtocolError, f"{name} in a second task"):
                await call()
        while not first.done():
            await right.send(message)
            await asyncio.wait([first], timeout=terms.quiet_s if courier.loses else None)
        expect(await first == message, "the first task got something else")


async def one_event_loop(left: Link, right: Link, terms: Terms) -> None:
    """A link that was used in one event loop raises LocalProtocolError in another one."""
    there, back = Courier(left, right, terms), Courier(right, left, terms)
    await there.carry(there.message())
    await back.carry(back.message())
    await expect_refused_elsewhere("send", lambda: left.send(b"1"), terms)
    await expect_refused_elsewhere("send_batch", lambda: left.send_batch([b"1"]), terms)
    await expect_refused_elsewhere("receive", left.receive, terms)
    await there.carry(there.message())


USE: tuple[Rule[Link, Link], ...] = (one_task_receives, one_event_loop)


async def expect_refused_elsewhere(
    name: str, call: Callable[[], Awaitable[object]], terms: Terms
) -> None:
    """The rule is broken unless the call, in an event loop of another thread, is refused."""

    async def attempt() -> None:
        try:
            async with asyncio.timeout(terms.quiet_s):
                await call()
        except LocalProtocolError:
            return
        except Exception as error:
            raise AssertionError(f"{name} in another event loop raised {error!r}") from error
        fail(f"{name} works in another event loop")

    await asyncio.to_thread(asyncio.run, attempt())
