"""Names with several addresses, of which some lead nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from chancel.links import eyeballs
from chancel.links.eyeballs import Found, connected, interleaved
from tests.links.streams import PATIENCE_S

PLACES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


class NamingLoop(asyncio.SelectorEventLoop):
    """Knows one name, which has all of :data:`PLACES`."""

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Their addresses, in this order."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in PLACES]


def run_naming(port: int) -> str:
    """Connect to the name; return where that led."""

    async def test() -> str:
        with await asyncio.wait_for(connected("name", port), PATIENCE_S) as connection:
            return str(connection.getpeername()[0])

    with asyncio.Runner(loop_factory=NamingLoop) as runner:
        return runner.run(test())


@contextlib.contextmanager
def listening(place: str, port: int = 0) -> Iterator[int]:
    """Somebody who answers there."""
    with socket.create_server((place, port)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def silent(place: str, port: int) -> Iterator[None]:
    """A place that doesn't answer: its backlog is full, so the kernel drops what comes."""
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(socket.create_server((place, port), backlog=0))
        for _ in range(3):
            caller = closing.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        yield


def test_the_first_address_that_answers_is_taken() -> None:
    with listening(PLACES[0]) as port, listening(PLACES[1], port):
        assert run_naming(port) == PLACES[0]


def test_an_address_that_refuses_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eyeballs, "HEAD_START_S", 10 * PATIENCE_S)
    with listening(PLACES[2]) as port:
        assert run_naming(port) == PLACES[2]


def test_an_address_that_is_silent_costs_its_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eyeballs, "HEAD_START_S", 0.05)
    with listening(PLACES[1]) as port, silent(PLACES[0], port):
        assert run_naming(port) == PLACES[1]


def test_when_all_refuse_the_first_reason_is_raised() -> None:
    with listening(PLACES[0]) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        run_naming(port)


@pytest.mark.filterwarnings("error")
def test_cancelled_at_any_step_it_leaves_nothing_open() -> None:
    async def test(port: int) -> None:
        for number in range(12):
            task = asyncio.create_task(connected("name", port))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result().close()

    with listening(PLACES[1]) as port, asyncio.Runner(loop_factory=NamingLoop) as runner:
        runner.run(test(port))
    gc.collect()


def test_families_take_turns() -> None:
    def place(family: str, number: int) -> Found:
        return (family, 0, 0, "", number)

    found = [place("6", 1), place("6", 2), place("6", 3), place("4", 4)]
    assert [each[4] for each in interleaved(found)] == [1, 4, 2, 3]
