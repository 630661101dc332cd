"""On which cores a process runs that carries packets: with its neighbours, or by itself.

A lone packet wakes the processes of its direction one after the other. The kernel wakes each on a
core that sleeps, if there is one, and to wake a core costs more than all that the process then does
for the packet. So while there is little to do, all of them share one core, the first of those that
they may use: who hands a packet on wakes the next where he is awake himself. As soon as there is
much to do, each runs wherever the kernel likes, as it does where that one core is crowded.

No packet waits for this: it is judged when the books are written, at most four times a second, by
what the kernel has counted for the process (``docs/decisions/024-one-core.md``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, Protocol

BUSY_SHARE: Final = 0.04
"""Of a core: from here on a process has much to do. Six that have less leave most of one free."""

IDLE_SHARE: Final = 0.02
"""Below this it has little to do; between the two it stays where it is."""

SHORTEST_S: Final = 0.2
"""What is judged is no shorter, or one packet would be much."""

CROWDED_S: Final = 0.0005
"""So long a process waits for its core, on average of some turns, where others keep it busy. For
its neighbours alone it waits a tenth of that."""

TURNS: Final = 32
"""That average's least number of turns: what only passes by, as others that start, is no crowd."""

APART_S: Final = (1.0, 64.0)
"""So long a crowded core is left alone: at first, and at most. It doubles as long as it is found
crowded again."""

_TIMES_BYTES: Final = 128
_NS: Final = 1e-9


class Times(NamedTuple):
    """What the kernel has counted for a process since it began: seconds that it ran, and that it
    waited for a core while it could have run, and how many times it got one."""

    ran_s: float
    waited_s: float
    turns: int


class Kernel(Protocol):
    """Whom a process asks, and tells, about itself."""

    def times(self) -> Times:
        """What was counted until now."""
        ...

    def cores(self) -> Collection[int]:
        """The cores it may run on."""
        ...

    def move(self, cores: Collection[int]) -> None:
        """Run on these cores alone from now on. Raises OSError if it may run on none of them."""
        ...


class Cores:
    """Keeps one process on the common core while it has little to do."""

    def __init__(self, kernel: Kernel, now: float) -> None:
        self._kernel = kernel
        self._all = frozenset(kernel.cores())
        self._now_on = self._all
        self._since, self._then = now, kernel.times()
        self._gathered = self._then
        self._apart_until = now
        self._apart_s = APART_S[0]

    @property
    def together(self) -> bool:
        """Whether the process is held on the common core."""
        return self._now_on != self._all

    def settle(self, now: float) -> None:
        """Look at the time since this was asked last, and move if that is due."""
        lasted = now - self._since
        if lasted < SHORTEST_S or len(self._all) < 2:
            return
        times = self._kernel.times()
        share = (times.ran_s - self._then.ran_s) / lasted
        self._since, self._then = now, times
        if self.together:
            if self._is_crowded(times):
                self._apart_until = now + self._apart_s
                self._apart_s = min(2 * self._apart_s, APART_S[1])
                self._move(self._all)
            elif share > BUSY_SHARE:
                self._move(self._all)
        elif share < IDLE_SHARE and now >= self._apart_until:
            self._gathered = times
            self._move(frozenset({min(self._all)}))

    def _is_crowded(self, times: Times) -> bool:
        """Whether it had to wait long, on average of enough turns on the common core."""
        turns = times.turns - self._gathered.turns
        if turns < TURNS:
            return False
        waited_s = times.waited_s - self._gathered.waited_s
        self._gathered = times
        if waited_s > turns * CROWDED_S:
            return True
        self._apart_s = APART_S[0]
        return False

    def _move(self, cores: frozenset[int]) -> None:
        """Go there, unless somebody else has decided where this process runs: he knows better."""
        try:
            if frozenset(self._kernel.cores()) == self._now_on:
                self._kernel.move(cores)
                self._now_on = cores
                return
        except OSError:
            pass  # these cores were taken from the process between the two calls
        self._all = self._now_on = frozenset()


class Itself:
    """The :class:`Kernel` of Linux, asked by a process about itself."""

    def __init__(self, times: int) -> None:
        self._times = times

    def times(self) -> Times:
        ran_ns, waited_ns, turns = map(int, os.pread(self._times, _TIMES_BYTES, 0).split())
        return Times(ran_ns * _NS, waited_ns * _NS, turns)

    def cores(self) -> Collection[int]:
        return os.sched_getaffinity(0)

    def move(self, cores: Collection[int]) -> None:
        os.sched_setaffinity(0, cores)


Settle = Callable[[float], None]


def settling(times: int, now: float) -> Settle:
    """What keeps this process where it belongs, to be called now and then with the monotonic
    second. Opens what the kernel counts for it as descriptor ``times``; without that it leaves
    everything to the kernel."""
    try:
        opened = os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return lambda _now: None  # no /proc, or a kernel that doesn't count
    os.dup2(opened, times, inheritable=False)
    os.close(opened)
    return Cores(Itself(times), now).settle
