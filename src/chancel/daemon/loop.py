"""The event loop of every process: epoll, one timer, nothing else.

A process sleeps until a descriptor is ready or its one deadline comes. What it does between waking
and handing on delays a packet, so there is as little of it as can be; what only keeps books is left
for :meth:`Loop.run`'s ``wake``, and stands back once for those whom this turn has woken.

Rejected: yielding the processor after waking, so that whoever woke us can put more into the same
batch. It costs each packet a system call in each process, and batches grow by themselves where work
waits (``docs/decisions/017-latency.md``).
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable
from typing import Protocol

MOST_READY = 32
"""Sources heard in one turn: the kernel passes over the others until the next, in turns. Room for
so many is cheap to come by; epoll's own default would take twelve kilobytes each time."""


Books = tuple[float, float]
"""When who carries packets by itself is to write them down: monotonic seconds, and so many seconds
after the first packet at least (:func:`books_at`)."""

PAUSE_S = 2.0
"""Who wasn't to write for so long carries a packet that nothing follows, as a heartbeat."""

Woken = tuple[list[tuple[int, int]], int]
Turns = Callable[[int, float], Woken]
"""Waits in epoll's place, and serves what is ordinary by itself (``hot.turns``).

Arguments: epoll's descriptor, and the monotonic second at which to return (infinite: never).
Returns what is ready and not served, as epoll tells it, and how often it woke up.
"""


Poll = Callable[[float, int], list[tuple[int, int]]]
"""Seconds to wait (-1: for ever), and how many sources to tell of at most."""


def books_at(books: Books, now: float) -> float:
    """When to write down what was carried now, for the first time since they were written.

    After a pause at once: the process is awake, and an idle tunnel wakes up for nothing else.
    """
    due, rest = books
    return due if now >= due + PAUSE_S else max(due, now + rest)


class HasFileno(Protocol):
    """Anything epoll can watch."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class Loop:
    """Watches descriptors in the order in which they were added, and one deadline."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.poll: Poll = self._epoll.poll
        """Epoll's own: for who waits in our place."""
        self._handlers: dict[int, tuple[int, Callable[[], None]]] = {}
        self._running = False
        self._order = 0
        self.wakeups = 0
        self.turns: Turns | None = None
        """Who waits in epoll's place; may change while the loop runs."""

    def add(self, source: HasFileno | int, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever the source is readable; sources added earlier come first."""
        fd = source if isinstance(source, int) else source.fileno()
        self._order += 1
        self._handlers[fd] = (self._order, handler)
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, source: HasFileno | int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        fd = source if isinstance(source, int) else source.fileno()
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def pause(self, source: HasFileno | int) -> None:
        """Stay deaf to a source for now; :meth:`resume` listens again.

        That the other end hung up is told all the same: epoll always does.
        """
        self._epoll.modify(source if isinstance(source, int) else source.fileno(), 0)

    def resume(self, source: HasFileno | int) -> None:
        """Listen again to a source that was paused."""
        self._epoll.modify(source if isinstance(source, int) else source.fileno(), select.EPOLLIN)

    def stop(self) -> None:
        """Leave :meth:`run` after the handler, or the ``wake``, at hand."""
        self._running = False

    def run(
        self,
        wake_at: Callable[[], float | None] = lambda: None,
        wake: Callable[[float], None] = lambda _now: None,
    ) -> None:
        """Serve until :meth:`stop`. ``wake(now)`` is called once ``wake_at()`` has come."""
        self._running = True
        handlers = self._handlers
        poll, epoll = self.poll, self._epoll.fileno()
        while self._running:
            deadline = wake_at()
            now = 0.0
            if deadline is not None:
                now = time.monotonic()
                if now >= deadline:
                    os.sched_yield()
                    wake(now)
                    if not self._running:
                        return
                    deadline = wake_at()
            if self.turns is not None:
                ready, wakeups = self.turns(epoll, math.inf if deadline is None else deadline)
                self.wakeups += wakeups
            else:
                patience = -1 if deadline is None else _patience(deadline, now)
                ready = poll(patience, MOST_READY)
                self.wakeups += 1
            if len(ready) == 1:
                handlers[ready[0][0]][1]()
                continue
            for _order, fd in sorted([(handlers[fd][0], fd) for fd, _ in ready]):
                if fd in handlers:  # an earlier handler may have removed it
                    handlers[fd][1]()
                if not self._running:
                    return


def _patience(deadline: float, now: float) -> float:
    """How long to wait, as epoll wants it."""
    return deadline - now if deadline > now else 0
