"""How a process lets itself be scheduled: judged over a kernel that says what a test wants, and
asked of the real one by a process that waits for its core."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from chancel.daemon.scheduling import (
    BUSY_SHARE,
    BUSY_TURNS_PER_S,
    CROWDED_S,
    ORDINARY_S,
    SHORTEST_S,
    TURNS,
    Scheduling,
    Times,
    settling,
)
from tests.daemon.running import LIMIT_S

BATCH, ORDINARY = os.SCHED_BATCH, os.SCHED_OTHER
FIRST_S, LONGEST_S = ORDINARY_S


class Machine:
    """A kernel and a clock: time passes by :meth:`spend`, and the process is asked at its end."""

    def __init__(self) -> None:
        self.now = 100.0
        self.policy = ORDINARY
        self._times = Times(3.0, 1.0, 50)
        self.process = Scheduling(self, self.now)
        self.crowd()
        assert self.policy == BATCH, "the start isn't judged"

    def times(self) -> Times:
        return self._times

    def schedule(self, policy: int) -> None:
        assert policy != self.policy
        self.policy = policy

    def spend(
        self,
        lasting: float = 1.0,
        *,
        turns: int = TURNS,
        waiting: float = CROWDED_S / 10,
        share: float = BUSY_SHARE / 2,
    ) -> int:
        """A time in which the process runs for a ``share`` of it, in so many ``turns``, before each
        of which it waits. Returns how it is scheduled afterwards."""
        ran, waited, had = self._times
        self._times = Times(ran + share * lasting, waited + waiting * turns, had + turns)
        self.now += lasting
        self.process.settle(self.now)
        assert self.process.is_batch == (self.policy == BATCH)
        return self.policy

    def crowd(self, lasting: float = 1.0, *, turns: int = TURNS) -> int:
        """The same where others keep the cores busy."""
        return self.spend(lasting, turns=turns, waiting=2 * CROWDED_S)


def test_it_is_a_batch_job_from_the_beginning_and_stays_one() -> None:
    machine = Machine()
    assert machine.policy == BATCH
    assert {machine.spend() for _ in range(20)} == {BATCH}


def test_who_waits_for_others_is_an_ordinary_process_for_a_while() -> None:
    machine = Machine()
    assert machine.crowd() == ORDINARY
    assert machine.spend(FIRST_S * 0.7) == ORDINARY
    assert machine.spend(FIRST_S * 0.7) == BATCH


def test_who_has_much_to_do_by_then_stays_an_ordinary_process() -> None:
    machine = Machine()
    machine.crowd()
    assert machine.spend(FIRST_S * 2, share=BUSY_SHARE * 2) == ORDINARY
    assert machine.spend() == BATCH


def test_for_longer_each_time_and_forgiven_at_once() -> None:
    machine = Machine()
    for wait_s in (FIRST_S, 2 * FIRST_S, 4 * FIRST_S):
        assert machine.crowd() == ORDINARY
        assert machine.spend(wait_s * 0.9) == ORDINARY
        assert machine.spend(wait_s * 0.2) == BATCH
    assert machine.spend() == BATCH, "this time it wasn't crowded"
    assert machine.crowd() == ORDINARY
    assert machine.spend(FIRST_S * 1.1) == BATCH
    for _ in range(20):
        machine.crowd()
        machine.spend(LONGEST_S)
    assert machine.policy == BATCH, "never for longer than that"


@pytest.mark.parametrize(
    ("share", "turns"),
    [(BUSY_SHARE * 2, TURNS), (BUSY_SHARE / 2, int(BUSY_TURNS_PER_S * 2))],
    ids=["long", "often"],
)
def test_neighbours_that_have_much_to_do_are_no_crowd(share: float, turns: int) -> None:
    machine = Machine()
    for _ in range(5):
        assert machine.spend(waiting=4 * CROWDED_S, share=share, turns=turns) == BATCH
    assert machine.spend(turns=1, waiting=4 * CROWDED_S) == BATCH, "and are not counted later"


def test_one_long_wait_is_no_crowd() -> None:
    machine = Machine()
    assert machine.spend(turns=1, waiting=TURNS * CROWDED_S / 2) == BATCH
    assert machine.spend() == BATCH


def test_sparse_turns_are_counted_together() -> None:
    machine = Machine()
    assert {machine.crowd(turns=1) for _ in range(TURNS - 1)} == {BATCH}
    assert machine.crowd(turns=1) == ORDINARY


def test_a_moment_is_not_judged() -> None:
    machine = Machine()
    assert machine.crowd(SHORTEST_S * 0.6) == BATCH
    assert machine.crowd(SHORTEST_S * 0.6) == ORDINARY, "both are judged together"


def test_what_was_while_it_was_an_ordinary_process_does_not_count() -> None:
    machine = Machine()
    machine.crowd()
    assert machine.crowd(FIRST_S * 1.1) == BATCH
    assert machine.spend() == BATCH


def in_a_process(code: str) -> None:
    """Run it in a process of its own, which fails if it does."""
    begin = """
        import os, time
        from chancel.daemon.scheduling import settling
    """
    program = textwrap.dedent(begin) + textwrap.dedent(code)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LIMIT_S)


def test_a_real_process_is_a_batch_job_until_others_keep_it_waiting() -> None:
    """All on one core: who spins is an ordinary process, which a batch job doesn't interrupt."""
    in_a_process("""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        others = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                while True: pass
            others.append(pid)
        try:
            settle = settling(1023, time.monotonic())
            assert not os.get_inheritable(1023)
            assert os.sched_getscheduler(0) == os.SCHED_BATCH
            until = time.monotonic() + 20
            while os.sched_getscheduler(0) == os.SCHED_BATCH and time.monotonic() < until:
                for _ in range(10): time.sleep(0.02)
                settle(time.monotonic())
            assert os.sched_getscheduler(0) == os.SCHED_OTHER
        finally:
            for pid in others: os.kill(pid, 9)
    """)


def test_whom_somebody_has_given_a_policy_keeps_it() -> None:
    in_a_process("""
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        settle = settling(1023, time.monotonic())
        settle(time.monotonic() + 1000)
        assert os.sched_getscheduler(0) == os.SCHED_IDLE
    """)


def test_without_counters_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", missing)
    settling(1023, 0.0)(1000.0)
    assert os.sched_getscheduler(0) == ORDINARY
