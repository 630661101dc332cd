"""A tunnel of the library in one host, our daemon in the other, the kernel behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chancel.lab.lab import Task
from chancel.wire.drop import Drop
from tests.e2e.ends import End, Pair, eventually

TALK = "tests.e2e.inside_library:talk"
LIBRARY, DAEMON = "10.77.0.1", "10.77.0.2"
PORT = 2300
IP_AND_ICMP_BYTES = 28

HARMLESS = {
    Drop.NO_KEY,
    Drop.NO_MASK,
    Drop.OFFER_ALREADY_DONE,
    Drop.OFFER_FRAGMENT_SEEN,
    Drop.OFFER_UNEXPECTED,
    Drop.UNKNOWN_SPI,  # under keys from before a restart
}

SILENCE_S = 35.0
"""Longer than a daemon's patience of 30 s with a peer that says nothing."""


@pytest.fixture
def daemon(pair: Pair) -> Iterator[End]:
    """The right end, which is not started yet."""
    yield pair.right
    assert pair.right.stop() == 0


def assert_harmless(*drops: dict[str, int]) -> None:
    """Only what comes of keys that are not there yet, or not any more."""
    assert {Drop(reason) for each in drops for reason in each} <= HARMLESS


def start_daemon(daemon: End, mtu: str, *lines: str) -> None:
    daemon.configure("t0", f"tunnel {DAEMON}/30 {mtu}", f"local {daemon.outer}:{PORT}", *lines)
    daemon.start()


def start_library(pair: Pair, options: dict[str, Any], *steps: tuple[Any, ...]) -> Task:
    """A program in the left host; it is up when this returns."""
    outer, peer = [pair.left.outer, PORT], [pair.right.outer, PORT]
    secret = pair.left.secret.read_bytes().hex()
    task = pair.left.host.start(TALK, outer, peer, secret, options, [list(step) for step in steps])
    assert next(task.progress) is None
    return task


@pytest.mark.parametrize(
    ("options", "mtu", "lines"),
    [
        ({}, 1422, ()),
        ({"shroud": True}, 1373, ("shroud yes",)),
        ({"tfc": True, "mtu": 1000}, 1000, ("tfc on",)),
        ({"shroud": True, "tfc": True}, 1373, ("shroud yes", "tfc on")),
    ],
    ids=["bare", "shroud", "tfc", "both"],
)
def test_packets_of_all_sizes_come_back(
    pair: Pair, daemon: End, folder: Path, options: dict[str, Any], mtu: int, lines: tuple[str, ...]
) -> None:
    start_daemon(daemon, str(mtu), "peer auto", *lines)
    done = folder / "done"
    sizes = (IP_AND_ICMP_BYTES, 84, mtu)
    library = start_library(
        pair, options, *(("ping", 10, size) for size in sizes), ("answer_until", str(done))
    )
    assert [next(library.progress) for _ in sizes] == [10, 10, 10]
    for size in sizes:
        assert daemon.ping(LIBRARY, 5, size=size - IP_AND_ICMP_BYTES) == 5
    done.touch()
    assert next(library.progress) == 15
    assert_harmless(library.result(), daemon.drops("t0"))
    done.unlink()


def test_silence_is_no_reason_for_a_daemon_to_worry(pair: Pair, daemon: End) -> None:
    start_daemon(daemon, "1422", "peer auto")
    library = start_library(pair, {}, ("ping", 1, 84), ("idle", SILENCE_S), ("ping", 1, 84))
    assert next(library.progress) == 1
    before = daemon.tunnel("t0")
    assert next(library.progress) == 0
    after = daemon.tunnel("t0")
    assert after["rx"]["packets"] > before["rx"]["packets"]
    assert after["exchange"]["completed"] == before["exchange"]["completed"]
    assert next(library.progress) == 1
    assert_harmless(library.result(), daemon.drops("t0"))


def test_a_library_that_restarts_is_back(pair: Pair, daemon: End) -> None:
    start_daemon(daemon, "1422", "peer auto")
    for _ in range(3):
        library = start_library(pair, {}, ("ping", 3, 84))
        assert next(library.progress) == 3
        assert_harmless(library.result(), daemon.drops("t0"))


def test_a_daemon_that_restarts_is_back(pair: Pair, daemon: End, folder: Path) -> None:
    start_daemon(daemon, "1422", "peer auto")
    done = folder / "done"
    library = start_library(pair, {}, ("ping", 1, 84), ("ping_until", str(done), 84))
    assert next(library.progress) == 1
    assert daemon.stop() == 0
    start_daemon(daemon, "1422", f"peer {pair.left.outer}:{PORT}")
    daemon.wait_up()
    packets = daemon.tunnel("t0")["rx"]["packets"]
    eventually(
        lambda: daemon.tunnel("t0")["rx"]["packets"] > packets + 40, 15.0, "packets pass again"
    )
    done.touch()
    assert next(library.progress) > 20
    assert_harmless(library.result(), daemon.drops("t0"))
    done.unlink()


def test_a_wrong_secret_is_told_at_both_ends(pair: Pair, daemon: End) -> None:
    start_daemon(daemon, "1422", f"peer {pair.left.outer}:{PORT}")
    outer, peer = [pair.left.outer, PORT], [pair.right.outer, PORT]
    library = pair.left.host.start(TALK, outer, peer, "00" * 32, {}, [], 4.0)
    assert "same secret" in next(library.progress)
    assert library.result()[Drop.OFFER_BAD_TAG]
    assert daemon.drops("t0")[Drop.OFFER_BAD_TAG]
