"""Time that jumps, and hosts whose clocks are wrong."""

from __future__ import annotations

from chancel.sim.clock import EPOCH_S, HostClock, VirtualClock


def test_events_run_in_order_of_time_then_of_asking() -> None:
    clock, seen = VirtualClock(), list[tuple[float, str]]()
    for at, name in ((2.0, "late"), (1.0, "first"), (1.0, "second")):
        clock.call_at(at, lambda name: seen.append((clock.now, name)), name)
    clock.run_until(10.0)
    assert seen == [(1.0, "first"), (1.0, "second"), (2.0, "late")]
    assert clock.now == 10.0


def test_what_is_asked_for_at_its_moment_runs_after_what_was_due_already() -> None:
    clock, seen = VirtualClock(), list[str]()

    def first() -> None:
        seen.append("first")
        clock.call_at(1.0, seen.append, "third")

    clock.call_at(1.0, first)
    clock.call_at(1.0, seen.append, "second")
    assert clock.run_while(lambda: len(seen) < 2, until=1.0)
    assert seen == ["first", "second"]
    clock.run_until(1.0)
    assert seen == ["first", "second", "third"]


def test_an_event_exactly_at_the_end_still_runs_and_one_after_it_waits() -> None:
    clock, seen = VirtualClock(), list[float]()
    clock.call_at(5.0, seen.append, 5.0)
    clock.call_at(5.1, seen.append, 5.1)
    clock.run_until(5.0)
    assert seen == [5.0]
    clock.run_until(6.0)
    assert seen == [5.0, 5.1]


def test_a_time_already_past_means_now() -> None:
    clock, seen = VirtualClock(), list[float]()
    clock.run_until(3.0)
    clock.call_at(1.0, lambda: seen.append(clock.now))
    clock.run_until(3.0)
    assert seen == [3.0]


def test_running_while_a_condition_holds_stops_at_the_event_that_ends_it() -> None:
    clock, seen = VirtualClock(), list[int]()
    for second in range(10):
        clock.call_at(float(second), seen.append, second)
    assert clock.run_while(lambda: len(seen) < 4, until=100.0)
    assert (clock.now, len(seen)) == (3.0, 4)
    assert not clock.run_while(lambda: True, until=100.0)
    assert clock.now == 100.0


def test_suspend_stops_the_monotonic_clock_and_not_the_wall_clock() -> None:
    clock = VirtualClock()
    host = HostClock(clock, skew_s=-43.0)
    clock.run_until(100.0)
    host.slept(60.0)
    assert host.monotonic() == 40.0
    assert host.virtual(45.0) == 105.0
    assert host.wall() == EPOCH_S + 57.0
    host.set_wall(0.0)
    assert host.wall() == EPOCH_S + 100.0
