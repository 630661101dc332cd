"""An event loop of asyncio for one simulated host: its time is the host's own clock.

A host that is suspended has a clock that stands still, so hosts can't share a loop, and none of
them can be run until it is done: the virtual clock runs them all in turn. Each event of the
simulation enters the loop of its host, runs whatever is ready there until nothing is, and leaves.
No time passes meanwhile, so a program made of tasks answers an event at the moment of the event,
as a state machine does that is called directly.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, Unpack

from chancel.errors import LocalProtocolError
from chancel.sim.clock import HostClock, VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_CALLS_AT_ONCE = 100_000
"""Whoever makes this many calls without time passing would never sleep again."""

Context = contextvars.Context | None


class HostLoop(asyncio.AbstractEventLoop):
    """Time, calls and tasks, and nothing else: there is no IO in a simulation.

    Timers due at one moment run in the order in which they were asked for.
    """

    def __init__(self, virtual: VirtualClock, host: HostClock) -> None:
        self._virtual = virtual
        self._host = host
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._armed_at = math.inf
        self._now = -math.inf
        self._asleep = False
        self._problems: list[Exception] = []

    def __repr__(self) -> str:
        return f"<HostLoop at {self.time():.6f}{' asleep' if self._asleep else ''}>"

    def run(self, call: Callable[[], T]) -> T:
        """Call inside the loop, at this moment, then run all that is ready; what it returned.

        Raises what the call raises, and what nobody else takes.
        """
        asyncio._set_running_loop(self)
        try:
            result = call()
            self._run_ready()
        finally:
            asyncio._set_running_loop(None)
        self._arm()
        if self._problems:
            raise self._problems.pop(0)
        return result

    def start(self, program: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task, as far as it comes at this moment.

        What it raises, now or later, is raised from the event that it came of.
        """
        return self.run(lambda: self._begin(program))

    def suspend(self) -> None:
        """The host sleeps: no timer runs."""
        self._asleep = True

    def resume(self) -> None:
        """The host is awake, and its clock knows for how long it was not."""
        self._asleep = False
        self._armed_at = math.inf
        self._arm()

    def time(self) -> float:
        """The host's monotonic clock, which is never behind a timer that has run."""
        return max(self._host.monotonic(), self._now)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by ``TimerHandle``; a cancelled one is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Exception):
            error = LocalProtocolError(f"a task of a simulated host went wrong: {context!r}")
        self._problems.append(error)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def _begin(self, program: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task: asyncio.Task[T] = self.create_task(program)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._problems.append(error)

    def _run_ready(self) -> None:
        for _ in range(MAX_CALLS_AT_ONCE):
            if not self._ready:
                return
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        raise LocalProtocolError(f"{self!r} has always something left to do: it would never sleep")

    def _arm(self) -> None:
        """One call of the virtual clock, for the earliest timer."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if timers and timers[0][0] < self._armed_at and not self._asleep:
            self._armed_at = at = timers[0][0]
            self._virtual.call_at(self._host.virtual(at), self._fire, at)

    def _fire(self, armed_at: float) -> None:
        if armed_at != self._armed_at or self._asleep:
            return  # stale: re-armed for earlier, or asleep meanwhile
        self._armed_at = math.inf
        # After a suspend, adding and subtracting can be off by the last bit of a float.
        self._now = max(self._host.monotonic(), armed_at)
        self.run(self._run_timers)

    def _run_timers(self) -> None:
        """Those that are due, each with all that follows from it before the next one."""
        timers, now = self._timers, self._now
        for _ in range(MAX_CALLS_AT_ONCE):
            if not timers or timers[0][0] > now:
                return
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                timer._run()
                self._run_ready()
        raise LocalProtocolError(f"{self!r} is woken at {now} and wants just that again")


def host_loop(virtual: VirtualClock, host: HostClock) -> HostLoop:
    """A loop for the host with this clock."""
    return HostLoop(virtual, host)  # type: ignore[abstract]  # what is missing would be IO
