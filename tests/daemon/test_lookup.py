"""Looking names up, in a process that may hang, lie, die, or belong to somebody else."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.daemon import landlock, lookup, sandbox_filter
from chancel.daemon.lookup import MAX_ADDRESSES, ROUND_LIMIT_S, Lookup, Resolve, Word
from chancel.daemon.loop import Loop
from chancel.daemon.sandbox_filter import Program
from tests.daemon.running import LIMIT_S

NOW = 1000.0


class Rounds:
    """A loop with a lookup in it."""

    def __init__(self, resolve: Resolve, program: Program | None = None) -> None:
        self.loop = Loop()
        self.said: list[Word] = []
        self.ends: list[bool] = []
        self.lookup = Lookup(self.loop, self.said.extend, self._end, resolve, program)

    def look(self, *names: str) -> dict[str, tuple[str, ...]]:
        self.said.clear()
        self.lookup.begin(names, NOW)
        self.loop.run(lambda: time.monotonic() + LIMIT_S, self._too_late)
        return self.found()

    def found(self) -> dict[str, tuple[str, ...]]:
        return {word.name: word.addresses for word in self.said if word.addresses}

    def hear(self, count: int) -> None:
        """Wait for so many words."""
        deadline = time.monotonic() + LIMIT_S
        while len(self.said) < count:
            assert time.monotonic() < deadline
            self.lookup._read()

    def _end(self, in_time: bool) -> None:
        self.ends.append(in_time)
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


@pytest.mark.parametrize("program", [None, sandbox_filter.for_lookup()], ids=["open", "filtered"])
def test_the_systems_resolver(program: Program | None) -> None:
    """In the process that has no rights, and no modules to load."""
    rounds = Rounds(lookup.resolve, program)
    assert rounds.look("localhost", "no-such-name.invalid") == {"localhost": ("127.0.0.1",)}
    (failed,) = [word for word in rounds.said if word.error is not None]
    assert failed.name == "no-such-name.invalid"
    assert failed.error in (socket.EAI_NONAME, socket.EAI_AGAIN)


def hang(name: str) -> list[str]:
    if name != "a.example":
        time.sleep(LIMIT_S)
    return ["192.0.2.1"]


def test_a_round_that_hangs_is_ended_with_what_there_is() -> None:
    rounds = Rounds(hang)
    rounds.lookup.begin(["a.example", "b.example"], NOW)
    pid = rounds.lookup._pid
    assert rounds.lookup.wake_at() == NOW + ROUND_LIMIT_S
    rounds.lookup.wake(NOW + 1.0)
    assert rounds.lookup.is_running
    rounds.hear(3)
    rounds.lookup.wake(NOW + ROUND_LIMIT_S)
    assert rounds.found() == {"a.example": ("192.0.2.1",)}
    assert rounds.ends == [True]
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
    assert rounds.ends == []


def test_cutting_it_short_is_told() -> None:
    rounds = Rounds(hang)
    rounds.lookup.cut_short()
    assert rounds.ends == []
    rounds.lookup.begin(["b.example"], NOW)
    rounds.lookup.cut_short()
    assert rounds.ends == [False]
    assert not rounds.lookup.is_running


def test_what_is_found_is_told_while_others_hang() -> None:
    """A name of which nothing comes back takes the whole round."""
    rounds = Rounds(hang)
    rounds.lookup.begin(["b.example", "a.example"], NOW)
    rounds.hear(3)
    assert rounds.found() == {"a.example": ("192.0.2.1",)}
    assert [word.name for word in rounds.said if not word.is_last] == ["b.example", "a.example"]
    rounds.lookup.close()


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        (b"", None),
        (b"nonsense", None),
        (b"[]", None),
        (b'["a.example", "192.0.2.1"]', None),
        (b'["a.example", [1]]', None),
        (b'["a.example", ["::1"]]', None),
        (b'[1, ["192.0.2.1"]]', None),
        (b'["a.example", ["192.0.2.1"], 3]', None),
        (b"[" * 5000, None),
        (b"\xff\xfe", None),
        (b'["a.example"]', Word("a.example")),
        (b'["a.example", -2]', Word("a.example", (), -2)),
        (b'["a.example", []]', Word("a.example", (), 0)),
        (b'["a.example", ["0.0.0.0"]]', Word("a.example", (), 0)),
        (b'["a.example", ["192.0.2.1", "192.0.2.1"]]', Word("a.example", ("192.0.2.1",))),
    ],
)
def test_nothing_it_says_is_believed_without_a_look(said: bytes, believed: Word | None) -> None:
    assert lookup._parse_untrusted(said) == believed


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


def tries(attempt: Callable[[], object]) -> Resolve:
    """A resolver that was taken over: it says how its attempt went, and can still look names up."""

    def resolve(name: str) -> list[str]:
        if name == "localhost":
            return lookup.resolve(name)
        attempt()
        return ["192.0.2.1"]

    return resolve


def duplicate() -> None:
    if os.fork() == 0:
        os._exit(0)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        lambda _: socket.socketpair(),
        lambda own: own.chmod(0o4755),
        lambda own: os.chown(own, os.getuid(), os.getgid()),
        os.utime,
        lambda own: os.setxattr(own, "user.x", b"x"),
        lambda own: own.unlink(),
        lambda own: own.write_bytes(b""),
        lambda _: os.kill(os.getppid(), 0),
        lambda _: signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0),
        lambda _: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19),
        lambda _: os.execv("/bin/true", ["true"]),
        lambda _: duplicate(),
        lambda _: list(Path("/").iterdir()),
        lambda _: os.memfd_create("x"),
    ],
)
def test_what_a_hole_in_it_reaches(tmp_path: Path, attempt: Callable[[Path], object]) -> None:
    """Nothing of its user's but the resolver's files and the network. Landlock alone leaves open
    all unix sockets, and the modes of all that its user owns: for root, everything.
    """
    own = tmp_path / "own"
    own.write_bytes(b"content")
    own.chmod(0o600)
    before = own.stat()
    rounds = Rounds(tries(lambda: attempt(own)), sandbox_filter.for_lookup())
    assert rounds.look("a.example", "localhost") == {"localhost": ("127.0.0.1",)}
    assert own.stat() == before
    assert own.read_bytes() == b"content"
