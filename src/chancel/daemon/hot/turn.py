"""Turns in Python, for lone packets and for batches of one run.

A turn costs what it touches, code and data that have left the caches since the last one
(``docs/decisions/017-latency.md``). So here are as few different objects as can be: no lists of
runs, no grouping, no books beyond a count. Between waking and handing on one function takes the
packets, does its part of the work, and hands them on. Whatever is anything but plain traffic is the
duty's, and so is a batch of several runs.
"""

from __future__ import annotations

import abc
import math
import select
import time
from typing import ClassVar

from chancel.daemon.loop import MOST_READY, Books, Poll, Woken, books_at

_READABLE = int(select.EPOLLIN)


LEFT, CARRIED, SETTLE = range(3)
"""Of a source that was ready: it is for the duty, as it was; what it had was carried on; the duty
must hear of that before anything else."""


class PlainTurns(abc.ABC):
    """What all of them are: a wait around :meth:`carry`."""

    LULL_S: ClassVar = 0.005
    """Who drains its source reads a lone packet if none came for so long, and hands it on without
    looking for another. What follows sooner is traffic, and drained."""

    def __init__(self, poll: Poll) -> None:
        self._poll = poll

    @abc.abstractmethod
    def carry(self, fd: int, now: float) -> int:
        """Serve the one source that is ready: ``LEFT``, ``CARRIED`` or ``SETTLE``."""

    def run(self, _epoll: int, deadline: float, books: Books) -> Woken:
        """Wait, and serve what is ordinary, until there is something else to do.

        Returns at ``deadline``; once something was carried, when its owner is to write his books;
        and with what is ready, if that is several sources, or one for the duty.
        """
        poll, carry = self._poll, self.carry
        now = 0.0 if deadline == math.inf else time.monotonic()
        wakeups, carried = 0, False
        while True:
            ready = poll(-1 if deadline == math.inf else max(0.0, deadline - now), MOST_READY)
            wakeups += 1
            if len(ready) != 1:
                return ready, wakeups
            fd, what = ready[0]
            now = time.monotonic()
            outcome = carry(fd, now) if what == _READABLE else LEFT
            if outcome == LEFT:
                return ready, wakeups
            if not carried:  # what comes later would be written later
                carried = True
                deadline = min(deadline, books_at(books, now))
            if now >= deadline or outcome == SETTLE:
                return [], wakeups
