"""What the rules are written with: terms, what to expect, and calls that are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn, TypeVar

from chancel.links.interface import Link

T = TypeVar("T")
L = TypeVar("L")
R = TypeVar("R")

MakeEnds = Callable[[], AbstractAsyncContextManager[tuple[L, R]]]
MakeLinks = MakeEnds[Link, Link]
Rule = Callable[[L, R, "Terms"], Awaitable[None]]

MAX_STEPS = 48
"""Steps of the loop after which a call is cancelled at the latest."""

_QUICK_STEPS = 32
"""Steps after which each takes a moment, for transports that wait for the kernel or a process."""

_MOMENT_S = 0.001


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What the check may expect, and how long it waits.

    ``loses``, ``duplicates`` and ``reorders`` are about the network under an unreliable link while
    few messages are under way; under a flood any of them may lose. ``largest`` caps the messages
    that are tried, in bytes, for transports that are slow. ``patience_s`` bounds each rule;
    ``quiet_s`` is a silence after which nothing more is expected.
    """

    loses: bool = False
    duplicates: bool = False
    reorders: bool = False
    largest: int | None = None
    patience_s: float = 60.0
    quiet_s: float = 0.2

    def size(self, link: Link, wanted: int) -> int:
        """``wanted`` bytes, or as many as can be tried on this link."""
        return min(wanted, link.max_message, wanted if self.largest is None else self.largest)


async def run_rule(rule: Rule[L, R], make_ends: MakeEnds[L, R], terms: Terms) -> None:
    """Run one rule on ends of its own; whatever goes wrong becomes an error that names the rule."""
    name = (rule.__doc__ or "").partition("\n")[0].rstrip(".")

    async def attempt() -> None:
        async with make_ends() as (left, right):
            await rule(left, right, terms)

    task = asyncio.create_task(attempt())
    try:
        done, _ = await asyncio.wait([task], timeout=terms.patience_s)
        expect(bool(done), f"a call still waits after {terms.patience_s:g} s, or a message is gone")
        await task
    except AssertionError as error:
        problem = str(error) or "an assertion inside of it failed"
        raise AssertionError(f"{name}: {problem}") from error
    except Exception as error:
        raise AssertionError(f"{name}: {error!r} was raised") from error
    finally:
        await _end(task, terms)


async def _end(task: asyncio.Task[None], terms: Terms) -> None:
    """End a task that hangs; where closing the ends hangs too, once more."""
    for _ in range(3):
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=terms.quiet_s)


async def expect_nothing_left(make_ends: MakeEnds[L, R], terms: Terms) -> None:
    """The rule that what is closed leaves no task behind."""
    before = asyncio.all_tasks()
    async with asyncio.timeout(terms.patience_s), make_ends():
        await pause(3)
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=terms.quiet_s)
    if left:
        names = ", ".join(sorted(str(task.get_coro()) for task in left))
        raise AssertionError(f"Closing ends all tasks: {names} is still running")


def turned(make_pair: MakeEnds[L, R]) -> MakeEnds[R, L]:
    """The same ends the other way round."""

    @contextlib.asynccontextmanager
    async def make_turned() -> AsyncIterator[tuple[R, L]]:
        async with make_pair() as (left, right):
            yield right, left

    return make_turned


def fail(problem: str) -> NoReturn:
    """The rule is broken."""
    raise AssertionError(problem)


def expect(condition: bool, problem: str) -> None:
    """The rule is broken unless the condition holds; not an ``assert``, which ``-O`` leaves out."""
    if not condition:
        raise AssertionError(problem)


@contextlib.contextmanager
def expect_raised(kind: type[Exception], what: str) -> Iterator[None]:
    """The rule is broken unless the block raises ``kind``."""
    try:
        yield
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{what} raised {error!r} and not {kind.__name__}") from error
    raise AssertionError(f"{what} did not raise {kind.__name__}")


async def pause(steps: int) -> None:
    """Let the event loop make so many steps."""
    for step in range(steps):
        await asyncio.sleep(0 if step < _QUICK_STEPS else _MOMENT_S)


async def cancelled_after(steps: int, task: asyncio.Task[T]) -> bool:
    """Cancel a call after so many steps of the loop; returns whether it had completed before."""
    await pause(steps)
    task.cancel()
    await asyncio.wait([task])
    return not task.cancelled()


async def blocks(task: asyncio.Task[Any], terms: Terms) -> bool:
    """Whether a call waits: it isn't done after a silence, however late that ended."""
    await asyncio.wait([task], timeout=terms.quiet_s)
    await pause(_QUICK_STEPS)
    return not task.done()


@contextlib.asynccontextmanager
async def running(call: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """A call in a task of its own, which is gone when the block ends."""
    task = asyncio.create_task(call)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # was looked at: whoever needs it has awaited the task
