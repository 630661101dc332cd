"""Any process may die at any time: its group ends at once and says why, the next one goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN
from tests.e2e.ends import END_LIMIT_S, Pair, eventually, is_alive

RESUME_LIMIT_S = 10.0
RIGHT = "10.77.0.2"


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    pair.configure(0, "auto")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


@pytest.mark.parametrize("victim", [*PROCESSES[Mode.TUNNEL], GUARDIAN])
def test_a_group_ends_with_any_of_its_processes(running: Pair, victim: str) -> None:
    left = running.left
    if left.has_ended():  # under an earlier test that failed
        left.start()
        left.wait_up()
    processes = left.processes()
    logged = len(left.logged(""))
    os.kill(processes[victim], signal.SIGKILL)

    status = left.wait_ended()
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )
    if victim == GUARDIAN:
        assert status == -signal.SIGKILL
    else:
        assert status == 1
        assert any(f"{victim} exited (signal 9)" in line for line in left.logged("")[logged:])
    assert left.devices() == {"lo", "eth0"}
    assert left.host.call("tests.e2e.inside:udp_ports") == []

    left.start()
    eventually(lambda: left.ping(RIGHT, 3) == 3, RESUME_LIMIT_S, "traffic goes on")
