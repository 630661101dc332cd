"""Any process may die at any time: its group ends at once and says why, the next one goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN
from tests.e2e.ends import END_LIMIT_S, End, Pair, eventually, is_alive

RESUME_LIMIT_S = 10.0
LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
ROUTE = "10.87.0.0/24"

END_WITHIN_S = 1.0
"""What a group needs to end. A machine that runs tests may pause, so the median counts."""

VICTIMS = [*PROCESSES[Mode.TUNNEL], GUARDIAN]


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    name = pair.configure(0, "auto", f"route {ROUTE}")
    with (pair.left.home / f"{name}.conf").open("a") as file:
        file.write(f"pidfile {pidfile(pair.left)}\n")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]
    assert not pidfile(pair.left).exists()


@pytest.fixture(scope="module")
def ends_s() -> list[float]:
    """How long each group took to end."""
    return []


def pidfile(end: End) -> Path:
    return end.home / "pid"


def wait_dead(end: End, processes: Iterable[int]) -> None:
    """Wait until nothing of a group lives, and see that the kernel has nothing of it left."""
    eventually(lambda: not any(map(is_alive, processes)), END_LIMIT_S, "all processes are gone")
    eventually(lambda: end.devices() == {"lo", "eth0"}, END_LIMIT_S, "the device is gone")
    assert end.host.call("tests.e2e.inside:routes_to", ROUTE) == 0
    assert end.host.call("tests.e2e.inside:udp_ports") == []


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_group_ends_with_any_of_its_processes(
    running: Pair, victim: str, ends_s: list[float]
) -> None:
    left = running.left
    if left.has_ended():  # under an earlier test that failed
        left.start()
        left.wait_up()
    assert left.host.call("tests.e2e.inside:routes_to", ROUTE) == 1
    processes = left.processes()
    logged = len(left.logged(""))
    killed = time.monotonic()
    os.kill(processes[victim], signal.SIGKILL)
    status = left.wait_ended()
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )
    ends_s.append(time.monotonic() - killed)

    wait_dead(left, processes.values())
    if victim == GUARDIAN:
        assert status == -signal.SIGKILL
        assert pidfile(left).read_text() == str(processes[GUARDIAN])  # stale
    else:
        assert status == 1
        assert any(f"{victim} exited (signal 9)" in line for line in left.logged("")[logged:])
        assert not pidfile(left).exists()
        assert list(left.runtime.iterdir()) == []

    left.start()
    eventually(lambda: left.ping(RIGHT, 3) == 3, RESUME_LIMIT_S, "traffic goes on")


def test_a_second_is_enough(ends_s: list[float]) -> None:
    if len(ends_s) < len(VICTIMS):
        pytest.fail("needs the tests above, in the same run")
    assert statistics.median(ends_s) < END_WITHIN_S


def test_both_ends_at_once_as_in_a_power_cut(running: Pair) -> None:
    """Everything of both ends dies in the same moment; the files stay, as on a disk."""
    for end in running.ends:
        eventually(end.is_up, RESUME_LIMIT_S, "both ends are up")
    groups = {end.host.name: end.processes() for end in running.ends}
    for processes in groups.values():
        for pid in processes.values():
            with contextlib.suppress(ProcessLookupError):  # it followed the others
                os.kill(pid, signal.SIGKILL)
    for end in running.ends:
        assert end.wait_ended() == -signal.SIGKILL
        wait_dead(end, groups[end.host.name].values())
        assert (end.runtime / "t0.ctl").is_socket()  # left behind
    left = running.left
    assert pidfile(left).read_text() == str(groups[left.host.name][GUARDIAN])

    logged = len(left.logged(""))
    running.start()
    assert left.ping(RIGHT, 3) == running.right.ping(LEFT, 3) == 3
    assert pidfile(left).read_text() == str(left.processes()[GUARDIAN])
    assert sum("stale pid file taken over" in line for line in left.logged("")[logged:]) == 1


def test_a_pid_file_whose_number_was_given_to_somebody_else(running: Pair) -> None:
    """After a reboot the number in a stale file may be that of any process."""
    left = running.left
    assert left.stop() == 0
    pidfile(left).write_text(str(os.getpid()))
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(str(left.runtime / "t0.ctl"))
    stale.close()
    left.start()
    eventually(lambda: left.ping(RIGHT, 3) == 3, RESUME_LIMIT_S, "traffic goes on")
    assert pidfile(left).read_text() == str(left.processes()[GUARDIAN])


def test_a_second_group_for_the_same_files_is_refused(running: Pair) -> None:
    left = running.left
    first = left.program
    left.start()
    assert left.wait_ended() == 1
    left.program = first
    assert left.logged("t0 is already running: it answers on")
    assert left.ping(RIGHT, 3) == 3


def test_a_stopped_process_holds_traffic_up_and_nothing_else(running: Pair) -> None:
    """SIGSTOP is what a debugger does: nobody is killed for it, and it can be undone."""
    left = running.left
    bless = left.processes()["bless"]
    os.kill(bless, signal.SIGSTOP)
    try:
        assert left.ping(RIGHT, 3, timeout_s=0.2) == 0
        assert left.tunnels()["t0"]["tx"]["spi"]
    finally:
        os.kill(bless, signal.SIGCONT)
    eventually(lambda: left.ping(RIGHT, 3) == 3, RESUME_LIMIT_S, "traffic goes on")


def test_a_stopped_process_does_not_keep_a_group_from_ending(running: Pair) -> None:
    left = running.left
    processes = left.processes()
    os.kill(processes["confess"], signal.SIGSTOP)
    assert left.stop() == 0
    wait_dead(left, processes.values())
    left.start()
    eventually(lambda: left.ping(RIGHT, 3) == 3, RESUME_LIMIT_S, "traffic goes on")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_signals_that_stop_it(running: Pair, number: signal.Signals) -> None:
    """As with the reference: SIGHUP too, as there is nothing to read again."""
    left = running.left
    left.wait_up()
    processes = left.processes()
    assert left.stop(number) == 0
    wait_dead(left, processes.values())
    assert not pidfile(left).exists()
    assert list(left.runtime.iterdir()) == []
    left.start()
    left.wait_up()
