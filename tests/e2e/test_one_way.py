"""A pilgrim's group sends, a shrine's group receives, and neither can do the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon import places
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.health import state
from tests.e2e.ends import USER, Pair, eventually

MTU = 1300
RIGHT = "10.77.0.2"
SIZES = [10, 700, MTU - 28, 64, MTU - 28]
UP_LIMIT_S = 60.0
AGAIN_LIMIT_S = 45.0
"""A shrine that starts again waits for the next announcement, half a minute at most."""


@pytest.fixture(scope="module", params=["plain", "shroud", "tfc"])
def running(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Pair]:
    extra = {"plain": (), "shroud": ("shroud yes",), "tfc": ("shroud yes", "tfc on")}
    modes = (Mode.PILGRIM, Mode.SHRINE)
    for end, mode in zip(pair.ends, modes, strict=True):
        users = dict.fromkeys(PROCESSES[mode], USER) if places.is_machine_root() else {}
        end.users = users
    lines = extra[request.param]
    pair.left.configure(
        "t0",
        f"tunnel 10.77.0.1/30 {MTU}",
        f"local {pair.left.outer}:2300",
        f"peer {pair.right.outer}:2300",
        "mode pilgrim",
        *lines,
    )
    pair.right.configure(
        "t0",
        f"tunnel {RIGHT}/30 {MTU}",
        f"local {pair.right.outer}:2300",
        "peer auto",
        "mode shrine",
        "route 10.99.0.0/24",
        *lines,
    )
    pair.right.start()
    eventually(lambda: bool(pair.right.tunnels()), UP_LIMIT_S, "there is a shrine to announce to")
    pair.left.start()
    wait_up(pair)
    yield pair
    assert pair.stop() == [0, 0]


def is_up(pair: Pair) -> bool:
    """Whether both think so, and the shrine hears the key that the pilgrim sends with."""
    tunnels = [end.tunnels().get("t0") for end in pair.ends]
    sender, receiver = tunnels
    return (
        sender is not None
        and receiver is not None
        and [state(sender), state(receiver)] == ["up", "up"]
        and sender["tx"]["spi"] == receiver["rx"]["spi"]
        and receiver["rx"]["packets"] > 0
    )


def wait_up(pair: Pair, limit_s: float = UP_LIMIT_S) -> None:
    eventually(lambda: is_up(pair), limit_s, "the shrine hears its pilgrim")


def check_stream(pair: Pair) -> None:
    receiving = pair.right.host.start("tests.e2e.inside:tally", 1)
    next(receiving.progress)
    count = pair.left.host.call("tests.e2e.inside:stream", [RIGHT], 1.0, 500.0, SIZES)
    (seen,) = receiving.result().values()
    assert seen == {"packets": count, "highest": count - 1, "reordered": 0, "damaged": 0}


def test_packets_arrive_whole_and_in_order(running: Pair) -> None:
    check_stream(running)


def test_heartbeats_come(running: Pair) -> None:
    eventually(
        lambda: running.right.tunnel("t0")["last_heartbeat_s"] is not None, 20.0, "a heartbeat"
    )


def test_nothing_comes_back(running: Pair) -> None:
    assert running.left.ping(RIGHT, 2, 0.01, timeout_s=0.3) == 0
    assert running.right.ping("10.77.0.1", 2, 0.01, timeout_s=0.3) == 0
    assert running.left.tunnel("t0")["traffic"]["rx"]["datagrams"] == 0
    assert running.right.tunnel("t0")["traffic"]["tx"]["datagrams"] == 0


def test_groups_have_the_processes_of_their_mode(running: Pair) -> None:
    for end, mode in zip(running.ends, (Mode.PILGRIM, Mode.SHRINE), strict=True):
        assert set(end.processes()) == {*PROCESSES[mode], "guardian"}


def test_status_and_why_make_sense(running: Pair) -> None:
    sender, receiver = (end.tunnel("t0") for end in running.ends)
    assert (sender["rx"]["spi"], receiver["tx"]["spi"]) == (None, None)
    assert sender["exchange"]["completed"] >= 1
    assert sender["exchange"]["offers_sent"] >= 1
    assert receiver["exchange"]["completed"] >= 1
    assert receiver["peer"] == f"{running.left.outer}:2300"
    assert receiver["clock_skew_s"] in (-1, 0)  # whole seconds: one may begin on the way
    assert sender["post_quantum"] == "drawn by the sender, under the shared secret"


def test_a_shrine_installs_no_routes(running: Pair) -> None:
    routes = running.right.host.call("tests.e2e.inside:routes")
    assert "10.99.0.0" not in routes
    assert "10.77.0.0" in routes


@pytest.mark.timeout(120)
def test_both_may_start_again(running: Pair) -> None:
    left, right = running.ends
    left.stop()
    left.start()
    wait_up(running)
    check_stream(running)
    right.stop()
    right.start()
    wait_up(running, AGAIN_LIMIT_S)
    check_stream(running)


def test_the_secret_stays_with_the_keeper(running: Pair) -> None:
    for end in running.ends:
        assert running.key.hex() not in end.log.read_text()
        for pid in end.processes().values():
            assert str(end.secret).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            for each in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    assert each.readlink() != end.secret
