"""Names of cathedrals: looked up in a process that may hang, lie or die. News of the network."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from chancel.daemon import landlock, lookup, netconf
from chancel.daemon.cathedral_names import AGAIN_S, SOON_S, CathedralNames
from chancel.daemon.config_types import Place
from chancel.daemon.lookup import MAX_ADDRESSES, ROUND_LIMIT_S, Found, Lookup, Resolve
from chancel.daemon.loop import Loop
from chancel.daemon.network_watch import QUIET_S, NetworkWatch
from chancel.wire.types import Address
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S

NOW = 1000.0


class Rounds:
    """A loop with a lookup in it."""

    def __init__(self, resolve: Resolve) -> None:
        self.loop = Loop()
        self.found: Found | None = None
        self.lookup = Lookup(self.loop, self._take, resolve)

    def look(self, *names: str) -> Found:
        self.found = None
        self.lookup.begin(names, NOW)
        self.loop.run(lambda: time.monotonic() + LIMIT_S, self._too_late)
        assert self.found is not None
        return self.found

    def _take(self, found: Found) -> None:
        self.found = found
        self.loop.stop()

    def _too_late(self, _now: float) -> None:
        raise AssertionError("the round never ended")


def table(name: str) -> list[str]:
    if name == "none.example":
        raise OSError("no such name")
    if name == "many.example":
        return [f"192.0.2.{number}" for number in range(1, 100)]
    return ["192.0.2.1", "192.0.2.1", "192.0.2.2"]


def test_what_is_found_and_what_is_not() -> None:
    rounds = Rounds(table)
    found = rounds.look("a.example", "none.example", "many.example")
    assert set(found) == {"a.example", "many.example"}
    assert found["a.example"] == ("192.0.2.1", "192.0.2.2")
    assert len(found["many.example"]) == MAX_ADDRESSES
    assert rounds.look(*(f"{number}.example" for number in range(50))).keys() == {
        f"{number}.example" for number in range(50)
    }
    assert not rounds.lookup.is_running


def test_the_systems_resolver() -> None:
    """In the process that has no rights, and no modules to load."""
    assert Rounds(lookup.resolve).look("localhost", "no-such-name.invalid") == {
        "localhost": ("127.0.0.1",)
    }


def hang(name: str) -> list[str]:
    if name != "a.example":
        signal.pause()
    return ["192.0.2.1"]


def test_a_round_that_hangs_is_ended_with_what_there_is() -> None:
    rounds = Rounds(hang)
    rounds.lookup.begin(["a.example", "b.example"], NOW)
    pid = rounds.lookup._pid
    assert rounds.lookup.wake_at() == NOW + ROUND_LIMIT_S
    rounds.lookup.wake(NOW + 1.0)
    assert rounds.found is None
    deadline = time.monotonic() + LIMIT_S
    while b"\n" not in rounds.lookup._answer:
        assert time.monotonic() < deadline
        rounds.lookup._read()
    rounds.lookup.wake(NOW + ROUND_LIMIT_S)
    assert rounds.found == {"a.example": ("192.0.2.1",)}
    assert rounds.lookup.wake_at() is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_resolver_that_dies_found_nothing() -> None:
    def die(_name: str) -> list[str]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    assert Rounds(die).look("a.example") == {}


def test_closing_ends_it() -> None:
    rounds = Rounds(hang)
    rounds.lookup.begin(["b.example"], NOW)
    pid = rounds.lookup._pid
    rounds.lookup.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert rounds.found is None


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\n",
        b"[]\n",
        b'["a.example"]\n',
        b'["a.example", "192.0.2.1"]\n',
        b'["a.example", [1]]\n',
        b'["a.example", ["0.0.0.0"]]\n',
        b'["a.example", ["::1"]]\n',
        b'[1, ["192.0.2.1"]]\n',
        b'["a.example", ["192.0.2.1"]]',
        b"[" * 5000 + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_nothing_it_says_is_believed_without_a_look(said: bytes) -> None:
    assert lookup._parse_untrusted(said) == {}


@pytest.mark.skipif(not landlock.abi(), reason="needs a kernel with Landlock (5.13)")
def test_it_reads_nothing_but_the_resolvers_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"192.0.2.9")

    def curious(name: str) -> list[str]:
        if name == "read.example":
            return [secret.read_text()]
        if name == "write.example":
            (tmp_path / "made").write_text("x")
        return ["192.0.2.1"]

    found = Rounds(curious).look("read.example", "write.example", "a.example")
    assert found == {"a.example": ("192.0.2.1",)}
    assert not (tmp_path / "made").exists()


class Names:
    """The names of some tunnels, with a resolver whose answers the test writes."""

    def __init__(self, tmp: Path) -> None:
        self.answers = tmp / "answers"
        self.answers.mkdir()
        self.told: list[tuple[int, list[Address]]] = []
        self.silent: set[int] = set()
        self.loop = Loop()
        self.rounds = 0
        self.names = CathedralNames(
            self.loop,
            lambda tunnel, addresses: self.told.append((tunnel, addresses)),
            self.silent.__contains__,
            self._resolver(),
        )

    def answer(self, name: str, *addresses: str) -> None:
        os.environ[f"TEST_{name}"] = " ".join(addresses)

    def finish(self) -> list[tuple[int, list[Address]]]:
        """Let a round end that is under way; what was told since the last time."""
        deadline = time.monotonic() + LIMIT_S
        while self.names._lookup.is_running:
            assert time.monotonic() < deadline
            self.names._lookup._read()
        told, self.told = self.told, []
        return told

    def is_looking(self) -> bool:
        return self.names._lookup.is_running

    def _resolver(self) -> Callable[[str], list[str]]:
        def resolve(name: str) -> list[str]:
            found = os.environ.get(f"TEST_{name}", "").split()
            if not found:
                raise OSError("no such name")
            return found

        return resolve


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    for name in ("a.example", "b.example"):
        monkeypatch.setenv(f"TEST_{name}", "")
    made = Names(tmp_path)
    yield made
    made.names.close()


A, B = Place("a.example", 1), Place("b.example", 2)
NUMBER = Place("198.51.100.9", 3)
NINE = Address("198.51.100.9", 3)


def test_addresses_are_told_in_the_order_of_the_file(names: Names) -> None:
    names.answer("a.example", "192.0.2.1", "192.0.2.2")
    names.answer("b.example", "192.0.2.1")
    names.names.add(5, (B, NUMBER, A), NOW)
    assert names.finish() == [
        (
            5,
            [Address("192.0.2.1", 2), NINE, Address("192.0.2.1", 1), Address("192.0.2.2", 1)],
        )
    ]


def test_addresses_alone_need_nobody(names: Names) -> None:
    names.names.add(5, (NUMBER,), NOW)
    assert names.names.wake_at() is None
    assert not names.is_looking()


def test_a_start_without_dns(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again soon, and what is known is not told again."""
    names.answer("a.example", "192.0.2.1")
    names.names.add(5, (A, B), NOW)
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
    names.names.add(5, (A,), NOW)
    names.finish()
    assert looks_at(names, 190) == [60, 120, 180]
    assert AGAIN_S == 60.0


def test_and_soon_while_a_cathedral_is_silent(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.names.add(5, (A,), NOW)
    names.finish()
    names.silent.add(5)
    assert looks_at(names, 35) == [10, 20, 30]


def test_what_was_known_stays_when_dns_is_gone(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.names.add(5, (A,), NOW)
    names.finish()
    names.answer("a.example")
    names.names.wake(NOW + AGAIN_S)
    assert names.finish() == []
    names.answer("a.example", "192.0.2.8")
    names.names.wake(NOW + 2 * AGAIN_S)
    assert names.finish() == [(5, [Address("192.0.2.8", 1)])]


def test_a_tunnel_that_left_is_told_nothing(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.names.add(5, (A,), NOW)
    names.names.remove(5)
    assert names.finish() == []
    assert names.names.wake_at() is None
    names.names.remove(5)


def test_one_that_joins_while_a_round_is_under_way_waits_for_the_next(names: Names) -> None:
    names.answer("a.example", "192.0.2.1")
    names.answer("b.example", "192.0.2.2")
    names.names.add(5, (A,), NOW)
    names.names.add(6, (B,), NOW)
    assert names.finish() == [(5, [Address("192.0.2.1", 1)])]
    names.names.wake(NOW + SOON_S)
    assert names.finish() == [(6, [Address("192.0.2.2", 2)])]


def heard(watch: NetworkWatch, now: float) -> None:
    """Wait for the kernel's news."""
    deadline = time.monotonic() + LIMIT_S
    while watch.wake_at() is None:
        assert time.monotonic() < deadline
        watch.receive(now)
        time.sleep(0.01)


def test_news_of_the_network(in_network: InNetwork) -> None:
    """Addresses and routes come in showers, of which one is told at a time."""

    def test() -> None:
        watch = NetworkWatch()
        watch.receive(NOW)
        assert watch.wake_at() is None
        assert not watch.changed(NOW)
        with netconf.netlink() as ip:
            ip.link("add", ifname="wire", kind="veth", peer={"ifname": "other"})
        netconf.configure("wire", IPv4Interface("192.0.2.1/24"), 1500, [])
        heard(watch, NOW)
        assert watch.changed(NOW)
        while True:
            watch.receive(NOW + 0.1)
            if watch.wake_at() is None:
                break
            assert not watch.changed(NOW + 0.1)
            assert watch.wake_at() == NOW + QUIET_S
            assert watch.changed(NOW + QUIET_S)
        watch.receive(NOW + 5.0)
        with netconf.netlink() as ip:
            ip.link("del", index=socket.if_nametoindex("wire"))
        heard(watch, NOW + 10.0)
        assert watch.changed(NOW + 10.0)
        watch.close()

    in_network(test)
