"""The event loop of every process: epoll, one timer, nothing else.

A process sleeps until a descriptor is ready or its one deadline comes. After waking it yields the
processor once, so that whoever woke it can put more into the same batch. Trials of the design
gained a fifth by that; on the machine where this was last measured it made no difference.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Protocol


class HasFileno(Protocol):
    """Anything epoll can watch."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class Loop:
    """Watches descriptors in the order in which they were added, and one deadline."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[int, Callable[[], None]]] = {}
        self._running = False
        self._order = 0
        self.wakeups = 0

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
        poll = self._epoll.poll
        monotonic = time.monotonic
        while self._running:
            deadline = wake_at()
            timeout = -1.0
            if deadline is not None:
                now = monotonic()
                if now >= deadline:
                    wake(now)
                    if not self._running:
                        return
                    deadline = wake_at()
                timeout = -1.0 if deadline is None else max(0.0, deadline - now)
            ready = poll(timeout)
            self.wakeups += 1
            if len(ready) == 1:
                os.sched_yield()
                handlers[ready[0][0]][1]()
            elif ready:
                os.sched_yield()
                for _order, fd in sorted((handlers[fd][0], fd) for fd, _ in ready):
                    if fd in handlers:  # an earlier handler may have removed it
                        handlers[fd][1]()
                    if not self._running:
                        return
