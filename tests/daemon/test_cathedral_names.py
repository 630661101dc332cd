"""Names of cathedrals, for all tunnels of a group: when they are looked up, and who is told."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from chancel.daemon.cathedral_names import AGAIN_S, PATIENCE_S, SOON_S, CathedralNames
from chancel.daemon.config_types import Place
from chancel.daemon.lookup import MAX_AT_ONCE, ROUND_LIMIT_S, Word
from chancel.daemon.loop import Loop
from chancel.wire.types import Address
from tests.daemon.running import LIMIT_S

NOW = 1000.0


class Names:
    """The names of some tunnels, with a resolver whose answers the test writes."""

    def __init__(self) -> None:
        self.told: list[tuple[int, list[Address]]] = []
        self.silent: set[int] = set()
        self.loop = Loop()
        self.names = CathedralNames(
            self.loop,
            lambda tunnel, addresses: self.told.append((tunnel, addresses)),
            self.silent.__contains__,
            self._resolver(),
        )

    def answer(self, name: str, *addresses: str) -> None:
        os.environ[f"TEST_{name}"] = " ".join(addresses)

    def add(self, tunnel: int, *places: Place) -> None:
        """A tunnel joins, and the loop goes on."""
        self.names.add(tunnel, places, NOW)
        self.names.wake(NOW)

    def finish(self) -> list[tuple[int, list[Address]]]:
        """Let a round end that is under way; what was told since the last time."""
        deadline = time.monotonic() + LIMIT_S
        while self.names._lookup.is_running:
            assert time.monotonic() < deadline
            self.names._lookup._read()
        told, self.told = self.told, []
        return told

    def hear(self) -> None:
        """Wait until something is told."""
        deadline = time.monotonic() + LIMIT_S
        while not self.told:
            assert time.monotonic() < deadline
            self.names._lookup._read()

    def is_looking(self) -> bool:
        return self.names._lookup.is_running

    def _resolver(self) -> Callable[[str], list[str]]:
        def resolve(name: str) -> list[str]:
            found = os.environ.get(f"TEST_{name}", "").split()
            if found == [HANGS]:
                time.sleep(LIMIT_S)
            if not found or found[0].startswith("-"):
                raise OSError(int(found[0]) if found else socket.EAI_NONAME, "no such name")
            return found

        return resolve


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    for name in ("a.example", "b.example"):
        monkeypatch.setenv(f"TEST_{name}", "")
    made = Names()
    yield made
    made.names.close()


HANGS = "hangs"
A, B = Place("a.example", 1), Place("b.example", 2)
NUMBER = Place("198.51.100.9", 3)
NINE = Address("198.51.100.9", 3)


def test_addresses_are_told_in_the_order_of_the_file(names: Names) -> None:
    names.answer("a.example", "192.0.2.1", "192.0.2.2")
    names.answer("b.example", "192.0.2.1")
    names.add(5, B, NUMBER, A)
    assert names.finish() == [
        (
            5,
            [Address("192.0.2.1", 2), NINE, Address("192.0.2.1", 1), Address("192.0.2.2", 1)],
        )
    ]


def test_addresses_alone_need_nobody(names: Names) -> None:
    names.add(5, NUMBER)
    assert names.names.wake_at() is None
    assert not names.is_looking()


def test_a_start_without_dns(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again soon, and what is known is not told again."""
    names.answer("a.example", "192.0.2.1")
    names.add(5, A, B)
    assert names.finish() == [(5, [Address("192.0.2.1", 1)])]
    assert "name of a cathedral can't be looked up name=b.example" in caplog.text
    assert names.names.wake_at() == NOW + SOON_S
    names.names.wake(NOW + SOON_S - 0.1)
    assert not names.is_looking()
    names.names.wake(NOW + SOON_S)
    assert names.finish() == []
    names.answer("b.example", "192.0.2.7")
    names.names.wake(NOW + 2 * SOON_S)
    assert names.finish() == [(5, [Address("192.0.2.1", 1), Address("192.0.2.7", 2)])]


def looks_at(names: Names, seconds: int) -> list[int]:
    """At which seconds from now on there is a look."""
    looked = []
    for second in range(1, seconds + 1):
        due = names.names.wake_at()
        if due is not None and NOW + second >= due:
            names.names.wake(NOW + second)
            if names.is_looking():
                looked.append(second)
                names.finish()
    return looked


def test_names_are_looked_up_again(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.add(5, A)
    names.finish()
    assert looks_at(names, 190) == [60, 120, 180]
    assert AGAIN_S == 60.0


def test_and_soon_while_a_cathedral_is_silent(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.add(5, A)
    names.finish()
    names.silent.add(5)
    assert looks_at(names, 35) == [10, 20, 30]


def test_what_was_known_stays_when_dns_is_gone(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.add(5, A)
    names.finish()
    names.answer("a.example")
    names.names.wake(NOW + AGAIN_S)
    assert names.finish() == []
    names.answer("a.example", "192.0.2.8")
    names.names.wake(NOW + 2 * AGAIN_S)
    assert names.finish() == [(5, [Address("192.0.2.8", 1)])]


def test_a_tunnel_that_left_is_told_nothing(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.add(5, A)
    names.names.remove(5)
    assert names.finish() == []
    assert names.names.wake_at() is None
    names.names.remove(5)


def test_tunnels_that_start_together_are_looked_up_together(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.answer("b.example", "192.0.2.2")
    names.names.add(5, (A,), NOW)
    names.names.add(6, (B,), NOW)
    assert names.names.wake_at() == NOW
    names.names.wake(NOW)
    told = sorted(names.finish())  # in the order of answers
    assert told == [(5, [Address("192.0.2.1", 1)]), (6, [Address("192.0.2.2", 2)])]


def test_one_that_joins_is_told_what_others_know(names: Names) -> None:
    """At once, and without asking anew."""
    names.answer("a.example", "192.0.2.1")
    names.add(5, A)
    names.finish()
    names.add(6, NUMBER, A)
    assert names.finish() == [(6, [NINE, Address("192.0.2.1", 1)])]


def test_one_that_joins_does_not_wait_for_names_that_hang(names: Names) -> None:
    names.answer("a.example", HANGS)
    names.answer("b.example", "192.0.2.2")
    names.add(5, A)
    assert names.is_looking()
    names.names.add(6, (B,), NOW + 3.0)
    assert names.names.wake_at() == NOW + 3.0
    names.names.wake(NOW + 3.0)
    names.hear()
    assert names.told == [(6, [Address("192.0.2.2", 2)])]
    assert names.is_looking()


def test_a_name_that_hangs_holds_up_no_other_tunnel(names: Names) -> None:
    names.answer("a.example", HANGS)
    names.answer("b.example", "192.0.2.2")
    names.names.add(5, (A,), NOW)
    names.names.add(6, (B,), NOW)
    names.names.wake(NOW)
    names.hear()
    assert names.told == [(6, [Address("192.0.2.2", 2)])]
    assert names.is_looking()


def test_the_first_line_comes_first_unless_it_hangs(names: Names) -> None:
    """Or the keeper would begin with whichever cathedral's name was found sooner."""
    names.answer("a.example", HANGS)
    names.answer("b.example", "192.0.2.2")
    names.add(5, A, B)
    while not names.names._known:
        names.names._lookup._read()
    assert names.told == []
    assert names.names.wake_at() == NOW + PATIENCE_S
    names.names.wake(NOW + PATIENCE_S)
    assert names.told == [(5, [Address("192.0.2.2", 2)])]
    assert names.names.wake_at() == NOW + ROUND_LIMIT_S
    assert names.is_looking()


def test_names_that_hang_come_last_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the others would never have a turn: a round has time for so many alone."""
    asked = [f"{number:03}.example" for number in range(2 * MAX_AT_ONCE)]
    for number, name in enumerate(asked):
        monkeypatch.setenv(f"TEST_{name}", HANGS if number < MAX_AT_ONCE else "192.0.2.1")
    names = Names()
    names.add(5, *(Place(name, 1) for name in asked))
    deadline = time.monotonic() + LIMIT_S
    while sorted(list(names.names._turns)[-MAX_AT_ONCE:]) != asked[:MAX_AT_ONCE]:
        assert time.monotonic() < deadline
        names.names._lookup._read()
    names.names.wake(NOW + ROUND_LIMIT_S)
    assert list(names.names._awaited)[:MAX_AT_ONCE] == asked[MAX_AT_ONCE:]
    while len(names.names._known) < MAX_AT_ONCE:
        assert time.monotonic() < deadline
        names.names._lookup._read()
    names.names.close()


def test_only_what_is_missing_is_asked_for_soon(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.add(5, A, B)
    names.finish()
    names.names.wake(NOW + SOON_S)
    assert list(names.names._awaited) == ["b.example"]
    names.finish()
    names.silent.add(5)
    names.names.wake(NOW + 2 * SOON_S)
    assert set(names.names._awaited) == {"a.example", "b.example"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.EAI_NONAME, "there is no such name"),
        (socket.EAI_NODATA, "it has no IPv4 address"),
        (socket.EAI_AGAIN, "no name server answers"),
        (-99, "error -99"),
    ],
)
def test_why_there_is_no_address(
    names: Names, caplog: pytest.LogCaptureFixture, error: int, reason: str
) -> None:
    names.answer("a.example", str(error))
    names.add(5, A)
    names.finish()
    assert f"can't be looked up name=a.example reason={reason}" in caplog.text


def test_of_a_name_that_hangs_it_is_said(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    names.answer("a.example", HANGS)
    names.add(5, A)
    names.names.wake(NOW + ROUND_LIMIT_S)
    assert "name=a.example reason=no answer within 30 s" in caplog.text


def test_what_was_not_asked_for_is_not_heard(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.add(5, A)
    names.finish()
    names.names._hear([Word("a.example", ("6.6.6.6",)), Word("z.example", ("6.6.6.6",))])
    assert names.told == []
    assert names.names._known == {"a.example": ("192.0.2.1",)}
