"""Death in the one-way modes: a pilgrim's group and a shrine's end as whole, and go on as new."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from chancel.daemon.config_types import KEEPER, PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN
from tests.e2e.ends import END_LIMIT_S, USER, End, Pair, eventually, is_alive

RESUME_LIMIT_S = 20.0
ANNOUNCED_WITHIN_S = 60.0
"""A pilgrim says its key every 30 s, as nobody can ask it to."""

SHRINE = "10.77.0.2"
NAME = "t0"


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    modes = {Mode.PILGRIM: pair.left, Mode.SHRINE: pair.right}
    for own, (mode, end) in enumerate(modes.items(), 1):
        other = pair.right if end is pair.left else pair.left
        end.configure(
            NAME,
            f"mode {mode}",
            f"tunnel 10.77.0.{own}/30 1400",
            f"local {end.outer}:2300",
            f"peer {other.outer}:2300",
            *([f"run {KEEPER[mode]} as {USER}"] if end.users else []),
        )
        end.start()
    wait_carried(pair)
    yield pair
    assert pair.stop() == [0, 0]


def wait_carried(pair: Pair, limit_s: float = RESUME_LIMIT_S) -> None:
    """Wait until what the pilgrim's side sends arrives at the shrine's. Nothing ever returns."""
    before = received(pair.right)

    def arrives() -> bool:
        assert pair.left.ping(SHRINE, 1, timeout_s=0.05) == 0
        return received(pair.right) > before

    eventually(arrives, limit_s, "packets arrive at the shrine")


def received(shrine: End) -> int:
    tunnel = shrine.tunnels().get(NAME)
    return tunnel["rx"]["packets"] if tunnel else 0


@pytest.mark.parametrize("victim", [*PROCESSES[Mode.PILGRIM], GUARDIAN])
def test_a_pilgrims_group(running: Pair, victim: str) -> None:
    dies_and_runs_again(running.left, victim)
    wait_carried(running)


@pytest.mark.parametrize("victim", [*PROCESSES[Mode.SHRINE], GUARDIAN])
def test_a_shrines_group(running: Pair, victim: str) -> None:
    dies_and_runs_again(running.right, victim)


def test_a_shrine_that_is_new_is_told_the_key_again(running: Pair) -> None:
    wait_carried(running, ANNOUNCED_WITHIN_S)


def dies_and_runs_again(end: End, victim: str) -> None:
    if end.has_ended():  # under an earlier test that failed
        end.start()
    eventually(lambda: NAME in end.tunnels(), RESUME_LIMIT_S, "it runs")
    processes = end.processes()
    os.kill(processes[victim], signal.SIGKILL)
    assert end.wait_ended() == (-signal.SIGKILL if victim == GUARDIAN else 1)
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )
    eventually(lambda: end.devices() == {"lo", "eth0"}, END_LIMIT_S, "the device is gone")
    assert end.host.call("tests.e2e.inside:udp_ports") == []
    end.start()
    eventually(lambda: NAME in end.tunnels(), RESUME_LIMIT_S, "it runs again")
