"""The event loop: who is called, in which order, and when."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from chancel.daemon.bell import Bell
from chancel.daemon.loop import Loop


@pytest.fixture
def bells() -> Iterator[list[Bell]]:
    made = [Bell() for _ in range(3)]
    yield made
    for bell in made:
        bell.close()


def then_stop(loop: Loop, called: list[str], word: str) -> Callable[[], None]:
    def handler() -> None:
        called.append(word)
        loop.stop()

    return handler


def test_handlers_are_called_in_the_order_in_which_they_were_added(bells: list[Bell]) -> None:
    loop, called = Loop(), list[int]()
    order = [2, 0, 1]

    def handler(number: int) -> None:
        called.append(number)
        bells[number].quiet()
        if len(called) == 3:
            loop.stop()

    for number in order:
        loop.add(bells[number], lambda number=number: handler(number))  # type: ignore[misc]
        bells[number].ring()
    loop.run()
    assert called == order
    assert loop.wakeups == 1


def test_a_handler_may_remove_another_source(bells: list[Bell]) -> None:
    loop, called = Loop(), list[str]()

    def first() -> None:
        called.append("first")
        bells[0].quiet()
        loop.remove(bells[1])

    loop.add(bells[0], first)
    loop.add(bells[1], lambda: called.append("removed"))
    loop.add(bells[2], then_stop(loop, called, "last"))
    for bell in bells:
        bell.ring()
    loop.run()
    assert called == ["first", "last"]


def test_a_handler_may_remove_itself(bells: list[Bell]) -> None:
    loop = Loop()
    loop.add(bells[0], lambda: loop.remove(bells[0]))
    bells[0].ring()
    loop.run(lambda: 0.0 if loop.wakeups else None, lambda _now: loop.stop())
    assert loop.wakeups == 1


def test_stop_ends_the_loop_after_the_handler_at_hand(bells: list[Bell]) -> None:
    loop, called = Loop(), list[str]()
    loop.add(bells[0], then_stop(loop, called, "stop"))
    loop.add(bells[1], lambda: called.append("too late"))
    bells[0].ring()
    bells[1].ring()
    loop.run(lambda: 0.0 if called else None, lambda _now: called.append("woken"))
    assert called == ["stop"]
    loop.remove(bells[0])
    loop.add(bells[2], loop.stop)
    bells[2].ring()
    loop.run()
    assert called == ["stop", "too late"], "it can run again"


def test_the_deadline_is_kept(bells: list[Bell]) -> None:
    loop, woken = Loop(), list[float]()
    deadline = time.monotonic() + 0.05
    loop.add(bells[0], lambda: None)

    def wake(now: float) -> None:
        woken.append(now)
        loop.stop()

    loop.run(lambda: None if woken else deadline, wake)
    assert woken
    assert deadline <= woken[0] <= time.monotonic()


def test_a_deadline_that_a_handler_sets_is_kept(bells: list[Bell]) -> None:
    loop, deadlines = Loop(), list[float]()

    def handler() -> None:
        bells[0].quiet()
        deadlines.append(time.monotonic() + 0.01)

    loop.add(bells[0], handler)
    bells[0].ring()
    loop.run(lambda: deadlines[0] if deadlines else None, lambda _now: loop.stop())
    assert time.monotonic() >= deadlines[0]


def test_a_deadline_that_is_always_due_keeps_nobody_from_being_heard(bells: list[Bell]) -> None:
    loop, called = Loop(), list[str]()
    loop.add(bells[0], then_stop(loop, called, "heard"))
    bells[0].ring()
    loop.run(lambda: 0.0, lambda _now: called.append("woken"))
    assert called[-1] == "heard"


def test_sources_beyond_those_of_one_turn_are_heard_in_the_next() -> None:
    loop, called = Loop(), set[int]()
    many = [Bell() for _ in range(100)]

    def handler(number: int) -> None:
        many[number].quiet()
        called.add(number)
        if len(called) == len(many):
            loop.stop()

    for number, bell in enumerate(many):
        loop.add(bell, lambda number=number: handler(number))  # type: ignore[misc]
        bell.ring()
    loop.run()
    assert loop.wakeups == 4
    for bell in many:
        bell.close()


def test_a_paused_source_is_not_heard_until_it_is_resumed(bells: list[Bell]) -> None:
    loop, called = Loop(), list[str]()
    loop.add(bells[0], then_stop(loop, called, "heard"))
    loop.pause(bells[0])
    bells[0].ring()
    late = time.monotonic() + 0.01
    loop.run(lambda: late, lambda _now: loop.stop())
    assert called == []
    loop.resume(bells[0])
    loop.run()
    assert called == ["heard"]
    loop.pause(bells[0])
    loop.remove(bells[0])


def test_a_source_that_hung_up_is_heard_even_when_paused() -> None:
    loop = Loop()
    ours, theirs = socket.socketpair()
    with ours:
        loop.add(ours.fileno(), loop.stop)
        loop.pause(ours.fileno())
        theirs.close()
        loop.run()
        loop.remove(ours.fileno())


def test_an_error_of_a_handler_ends_the_loop(bells: list[Bell]) -> None:
    loop = Loop()

    def fail() -> None:
        raise OSError(9, os.strerror(9))

    loop.add(bells[0], fail)
    bells[0].ring()
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.run()
