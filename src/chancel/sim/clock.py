"""Time that jumps: one clock for the whole simulation, one view of it per host.

The virtual clock goes straight from one event to the next, so idle hours cost nothing. Events due
at the same moment run in the order in which they were asked for: a run depends on its seed alone.
There is no cancelling; whoever re-arms a timer lets the old one find out that it is stale, which
is cheaper than searching the heap.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

EPOCH_S = 1_800_000_000.0
"""Wall-clock time (seconds since the Unix epoch) at which every simulation begins."""


class VirtualClock:
    """Simulated seconds since the start, in ``now``; only :meth:`run_until` moves them."""

    def __init__(self) -> None:
        self.now = 0.0
        # A heap of bare numbers: to compare those is cheap, in whichever Python.
        self._times: list[float] = []
        self._calls: dict[float, list[tuple[Callable[..., None], tuple[object, ...]]]] = {}

    def call_at(self, at: float, callback: Callable[..., None], *arguments: object) -> None:
        """Call back once at ``at``; a time already past means now, after what is already due."""
        at = max(at, self.now)
        calls = self._calls.get(at)
        if calls is None:
            heapq.heappush(self._times, at)
            self._calls[at] = [(callback, arguments)]
        else:
            calls.append((callback, arguments))

    def run_until(self, until: float) -> None:
        """Run every event due up to and including ``until``, then stand at ``until``."""
        times = self._times
        while times and times[0] <= until:
            self._run_next()
        self.now = max(self.now, until)

    def run_while(self, condition: Callable[[], bool], until: float) -> bool:
        """Run events for as long as ``condition()`` holds, at most up to ``until``.

        Returns whether the condition ended, with the clock at the event that ended it.
        """
        times = self._times
        while condition():
            if not times or times[0] > until:
                self.now = max(self.now, until)
                return False
            self._run_next()
        return True

    def _run_next(self) -> None:
        self.now = at = self._times[0]
        calls = self._calls[at]
        callback, arguments = calls.pop(0)
        if not calls:
            heapq.heappop(self._times)
            del self._calls[at]
        callback(*arguments)


class HostClock:
    """One host's two clocks: a monotonic one that stops in suspend, and a wall clock that is off.

    ``skew_s`` is what the wall clock is ahead of true time (negative: behind).
    """

    def __init__(self, clock: VirtualClock, skew_s: float = 0.0) -> None:
        self._clock = clock
        self._skew_s = skew_s
        self._asleep_s = 0.0

    def monotonic(self) -> float:
        """Seconds this host has been awake, as CLOCK_MONOTONIC counts them."""
        return self._clock.now - self._asleep_s

    def wall(self) -> float:
        """Seconds since the Unix epoch, as this host believes."""
        return EPOCH_S + self._clock.now + self._skew_s

    def virtual(self, monotonic: float) -> float:
        """The virtual clock's time at which, without further sleep, ``monotonic`` is reached."""
        return monotonic + self._asleep_s

    def set_wall(self, skew_s: float) -> None:
        """Set the wall clock, as NTP would, to ``skew_s`` ahead of the truth."""
        self._skew_s = skew_s

    def slept(self, seconds: float) -> None:
        """Account for a suspend of ``seconds`` that has just ended."""
        self._asleep_s += seconds
