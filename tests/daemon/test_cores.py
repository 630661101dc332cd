"""On which cores a process runs: decided over a kernel that says what a test wants, and asked of
the real one by a process that sleeps and works."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Collection

import pytest

from chancel.daemon.cores import (
    APART_S,
    BUSY_SHARE,
    CROWDED_S,
    IDLE_SHARE,
    SHORTEST_S,
    TURNS,
    Cores,
    Times,
    settling,
)
from tests.daemon.running import LIMIT_S

ALL = frozenset({2, 3, 5})
FIRST = frozenset({2})
LITTLE, MUCH = IDLE_SHARE / 2, BUSY_SHARE * 2


class Machine:
    """A kernel and a clock: time passes by :meth:`spend`, and the process is asked at its end."""

    def __init__(self, allowed: Collection[int] = ALL) -> None:
        self.now = 100.0
        self.on = frozenset(allowed)
        self.moves = 0
        self._times = Times(3.0, 1.0, 50)
        self.process = Cores(self, self.now)

    def times(self) -> Times:
        return self._times

    def cores(self) -> Collection[int]:
        return self.on

    def move(self, cores: Collection[int]) -> None:
        self.on = frozenset(cores)
        self.moves += 1

    def spend(
        self,
        share: float,
        lasting: float = 1.0,
        turns: int = TURNS,
        waiting: float = CROWDED_S / 10,
    ) -> frozenset[int]:
        """A time in which the process runs for a ``share`` of it, in so many ``turns``, before each
        of which it waits. Returns where it is afterwards."""
        ran, waited, had = self._times
        self._times = Times(ran + share * lasting, waited + waiting * turns, had + turns)
        self.now += lasting
        self.process.settle(self.now)
        return self.on


def test_who_has_little_to_do_is_on_the_first_core() -> None:
    machine = Machine()
    assert machine.spend(MUCH) == ALL
    assert machine.spend(LITTLE) == FIRST
    assert machine.process.together


def test_who_has_much_to_do_is_anywhere() -> None:
    machine = Machine()
    assert machine.spend(LITTLE) == FIRST
    assert machine.spend(MUCH) == ALL
    assert not machine.process.together


def test_between_the_two_it_stays_where_it_is() -> None:
    machine = Machine()
    between = (IDLE_SHARE + BUSY_SHARE) / 2
    assert machine.spend(between) == ALL
    assert machine.spend(LITTLE) == FIRST
    assert machine.spend(between) == FIRST
    assert machine.moves == 1


def test_a_moment_is_not_judged() -> None:
    machine = Machine()
    machine.spend(LITTLE)
    assert machine.spend(1.0, SHORTEST_S * 0.6) == FIRST
    assert machine.spend(0.0, SHORTEST_S * 0.6) == ALL, "both are judged together"


def test_a_crowded_core_is_left_alone_for_a_while() -> None:
    machine = Machine()
    machine.spend(LITTLE)
    first, _ = APART_S
    assert machine.spend(LITTLE, waiting=2 * CROWDED_S) == ALL
    assert machine.spend(LITTLE, first * 0.7) == ALL
    assert machine.spend(LITTLE, first * 0.7) == FIRST


def test_it_is_left_alone_for_longer_each_time_and_forgiven_at_once() -> None:
    machine = Machine()
    first, most = APART_S
    for apart_s in (first, 2 * first, 4 * first):
        machine.spend(LITTLE)
        assert machine.spend(LITTLE, waiting=2 * CROWDED_S) == ALL
        assert machine.spend(LITTLE, apart_s * 0.8) == ALL
        machine.now += apart_s
    assert machine.spend(LITTLE) == FIRST
    assert machine.spend(LITTLE) == FIRST, "this time it wasn't crowded"
    assert machine.spend(LITTLE, waiting=2 * CROWDED_S) == ALL
    assert machine.spend(LITTLE, first * 1.1) == FIRST
    for _ in range(20):
        machine.spend(LITTLE, waiting=2 * CROWDED_S)
        machine.spend(LITTLE, most)
    assert machine.process.together, "never for longer than that"


def test_one_long_wait_is_no_crowd() -> None:
    machine = Machine()
    machine.spend(LITTLE)
    assert machine.spend(LITTLE, turns=1, waiting=TURNS * CROWDED_S / 2) == FIRST
    assert machine.spend(LITTLE, turns=TURNS) == FIRST


def test_sparse_turns_are_counted_together() -> None:
    machine = Machine()
    machine.spend(LITTLE)
    for _ in range(TURNS - 1):
        assert machine.spend(LITTLE, turns=1, waiting=2 * CROWDED_S) == FIRST
    assert machine.spend(LITTLE, turns=1, waiting=2 * CROWDED_S) == ALL


def test_what_was_before_the_common_core_does_not_count() -> None:
    machine = Machine()
    assert machine.spend(LITTLE, waiting=9 * CROWDED_S) == FIRST
    assert machine.spend(LITTLE) == FIRST


@pytest.mark.parametrize("theirs", [frozenset({3}), frozenset({2, 3, 5, 7})])
def test_who_decides_otherwise_is_not_contradicted(theirs: frozenset[int]) -> None:
    machine = Machine()
    machine.spend(LITTLE)
    machine.on = theirs
    assert machine.spend(MUCH) == theirs
    assert machine.spend(LITTLE) == theirs
    assert machine.spend(MUCH) == theirs


def test_cores_that_are_taken_away_meanwhile_are_given_up() -> None:
    class Refusing(Machine):
        def move(self, cores: Collection[int]) -> None:
            self.moves += 1
            raise OSError(errno.EINVAL, f"none of {cores}")

    machine = Refusing()
    assert machine.spend(LITTLE) == ALL
    assert machine.spend(LITTLE) == ALL
    assert machine.moves == 1


def test_with_one_core_there_is_nothing_to_decide() -> None:
    machine = Machine(FIRST)
    machine.spend(LITTLE)
    machine.spend(MUCH)
    assert machine.moves == 0


def test_a_real_process_gathers_and_spreads() -> None:
    """Of several cores; with one there is nothing to see, and nothing goes wrong."""
    code = """
        import os, time
        from chancel.daemon.cores import settling
        before = os.sched_getaffinity(0)
        settle = settling(1023, time.monotonic())
        assert not os.get_inheritable(1023)
        time.sleep(0.5); settle(time.monotonic())
        assert os.sched_getaffinity(0) == {min(before)}, os.sched_getaffinity(0)
        until = time.process_time() + 0.5
        while time.process_time() < until: pass
        settle(time.monotonic())
        assert os.sched_getaffinity(0) == before, os.sched_getaffinity(0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=LIMIT_S)


def test_without_counters_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", missing)
    before = os.sched_getaffinity(0)
    settling(1023, 0.0)(1000.0)
    assert os.sched_getaffinity(0) == before
