"""How the kernel schedules a process that carries packets: whom it wakes lets it finish.

A lone packet wakes the processes of its direction one after the other, and each goes to sleep as
soon as it has handed the packet on. The kernel, though, lets whom we wake have our core at once; we
still wait for it, to go to sleep, so the next to be woken seems to find it busy and gets another
core, which costs more than all that he then does. A process that is scheduled as a batch job
(``SCHED_BATCH``) interrupts nobody when it wakes up. So a packet stays on one core from hop to hop,
and trains get longer.

It doesn't interrupt others either: where they keep all cores busy, each hop waits for a time slice
of theirs. So that is watched, and a process that waits so is an ordinary one for a while. No
packet waits for this: it is judged when the books are written, at most four times a second, by
what the kernel has counted for the process (``docs/decisions/024-batch-jobs.md``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

CROWDED_S: Final = 0.0005
"""So long a process waits for its core, on average of some turns, where others keep it busy. For
its neighbours alone it waits a fraction of that."""

TURNS: Final = 32
"""That average's least number of turns: what only passes by, as others that start, is no crowd."""

BUSY_SHARE: Final = 0.04
BUSY_TURNS_PER_S: Final = 300.0
"""Of a core, and so often: who has more to do than one of them waits for its neighbours, which have
much to do as well, and that is no crowd."""

SHORTEST_S: Final = 0.2
"""What is judged is no shorter, or one packet would be much."""

ORDINARY_S: Final = (4.0, 256.0)
"""So long a process stays an ordinary one: at first, and at most. It doubles as long as it finds
the same crowd again, and lasts until there is little to do."""

_TIMES_BYTES: Final = 128
_NS: Final = 1e-9


class Times(NamedTuple):
    """What the kernel has counted for a process since it began: seconds that it ran, and that it
    waited for a core while it could have run, and how many times it got one."""

    ran_s: float
    waited_s: float
    turns: int

    def since(self, then: Times) -> Times:
        """The same, counted from another time."""
        ran_s, waited_s = self.ran_s - then.ran_s, self.waited_s - then.waited_s
        return Times(ran_s, waited_s, self.turns - then.turns)


class Kernel(Protocol):
    """Whom a process asks, and tells, about itself."""

    def times(self) -> Times:
        """What was counted until now."""
        ...

    def schedule(self, policy: int) -> None:
        """Be scheduled like that from now on. Raises OSError."""
        ...


class Scheduling:
    """Keeps one process a batch job, except where that makes it wait."""

    def __init__(self, kernel: Kernel, now: float) -> None:
        """Raises OSError. What is before the first :meth:`settle` is the start, when all have much
        to do, and isn't judged."""
        self._kernel = kernel
        self._since, self._then = now, kernel.times()
        self._has_begun = False
        self._waited_s, self._turns = 0.0, 0
        self._ordinary_until: float | None = None
        self._ordinary_s = ORDINARY_S[0]
        kernel.schedule(os.SCHED_BATCH)

    @property
    def is_batch(self) -> bool:
        """Whether it interrupts nobody."""
        return self._ordinary_until is None

    def settle(self, now: float) -> None:
        """Look at the time since this was asked last, and change if that is due. Raises OSError."""
        lasted = now - self._since
        if lasted < SHORTEST_S:
            return
        times = self._kernel.times()
        spent = times.since(self._then)
        self._since, self._then = now, times
        if not self._has_begun:
            self._has_begun = True
        elif spent.ran_s > BUSY_SHARE * lasted or spent.turns > BUSY_TURNS_PER_S * lasted:
            return  # it stays what it is
        elif self._ordinary_until is None:
            if self._is_crowded(spent):
                self._ordinary_until = now + self._ordinary_s
                self._ordinary_s = min(2 * self._ordinary_s, ORDINARY_S[1])
                self._kernel.schedule(os.SCHED_OTHER)
        elif now >= self._ordinary_until:
            self._ordinary_until = None
            self._kernel.schedule(os.SCHED_BATCH)

    def _is_crowded(self, spent: Times) -> bool:
        """Whether it had to wait long, on average of enough turns while it had little to do."""
        self._waited_s += spent.waited_s
        self._turns += spent.turns
        if self._turns < TURNS:
            return False
        crowded = self._waited_s > self._turns * CROWDED_S
        self._waited_s, self._turns = 0.0, 0
        if not crowded:
            self._ordinary_s = ORDINARY_S[0]
        return crowded


class Itself:
    """The :class:`Kernel` of Linux, asked by a process about itself."""

    def __init__(self, times: int) -> None:
        self._times = times

    def times(self) -> Times:
        ran_ns, waited_ns, turns = map(int, os.pread(self._times, _TIMES_BYTES, 0).split())
        return Times(ran_ns * _NS, waited_ns * _NS, turns)

    def schedule(self, policy: int) -> None:
        os.sched_setscheduler(0, policy, os.sched_param(0))


Settle = Callable[[float], None]


def settling(times: int, now: float) -> Settle:
    """Make this process a batch job; returns what is to be called now and then with the monotonic
    second. Opens what the kernel counts for it as descriptor ``times``.

    Leaves everything as it is for a process that somebody has given another policy, and where the
    kernel doesn't count, or doesn't let it choose.
    """
    try:
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            return _leave
        opened = os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.dup2(opened, times, inheritable=False)
        finally:
            os.close(opened)
        return Scheduling(Itself(times), now).settle
    except OSError:
        return _leave


def _leave(_now: float) -> None:
    """Whatever happens."""
