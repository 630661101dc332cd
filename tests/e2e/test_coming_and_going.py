"""Starting, stopping, waiting for each other, and moving to another address."""

from __future__ import annotations

import itertools
import stat
import time
from pathlib import Path

import pytest

from chancel.lab.lab import Lab
from tests.e2e.ends import UP_LIMIT_S, Pair, eventually

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
APART_S, WAITED_S = 5.0, 1.0
RESUME_LIMIT_S = 5.0
MOVED, OTHER_PORT = "192.168.201.3", 4100

NUMBERS = itertools.count()


def configure(pair: Pair, port: int = 2300) -> None:
    """Left calls from any of its addresses; right has no idea where left is."""
    pair.left.configure(
        "t0",
        f"tunnel {LEFT}/30 1400",
        f"local 0.0.0.0:{port}",
        f"peer {pair.right.outer}:2300",
        f"pidfile {pair.left.home}/pid",
        f"control {pair.left.home}/status root",
    )
    pair.right.configure(
        "t0", f"tunnel {RIGHT}/30 1400", f"local {pair.right.outer}:2300", "peer auto"
    )


@pytest.fixture
def stopped(lab: Lab, folder: Path) -> Pair:
    """New hosts. Left is in the network twice, with its second interface down."""
    number = next(NUMBERS)
    left, right = lab.host(f"left{number}"), lab.host(f"right{number}")
    pair = Pair(left, right, folder)
    network = lab.network("192.168.201.0/24")
    network.join(left, pair.left.outer)
    network.join(right, pair.right.outer)
    network.join(left, MOVED)
    left.call("tests.e2e.inside:set_up", "eth1", False)
    configure(pair)
    return pair


@pytest.fixture
def running(stopped: Pair) -> Pair:
    """The same, up."""
    stopped.start()
    return stopped


def test_the_one_who_waits_knows_its_peer_once_it_has_called(stopped: Pair) -> None:
    left, right = stopped.ends
    right.start()
    eventually(lambda: bool(right.tunnels()), UP_LIMIT_S, "right runs")
    time.sleep(WAITED_S)
    assert right.tunnel("t0")["path"] == "unknown"
    assert right.tunnel("t0")["exchange"]["state"] == "idle"
    left.start()
    stopped.wait_up()
    assert right.tunnel("t0")["peer"] == f"{left.outer}:2300"
    assert right.tunnel("t0")["path"] == "learned"
    assert right.ping(LEFT) == left.ping(RIGHT) == 5


def test_the_one_who_calls_goes_on_until_somebody_is_there(stopped: Pair) -> None:
    left, right = stopped.ends
    left.start()
    eventually(lambda: bool(left.tunnels()), UP_LIMIT_S, "left runs")
    time.sleep(APART_S)
    assert left.tunnel("t0")["exchange"]["state"] == "offered"
    right.start()
    stopped.wait_up()
    assert right.ping(LEFT) == left.ping(RIGHT) == 5


def test_a_new_address_is_followed_without_a_new_key(running: Pair) -> None:
    left, right = running.ends
    key = right.tunnel("t0")["tx"]["spi"]
    left.host.call("tests.e2e.inside:set_up", "eth1", True)
    left.host.call("tests.e2e.inside:set_up", "eth0", False)
    eventually(lambda: left.ping(RIGHT, 3) == 3, RESUME_LIMIT_S, "left is heard again")
    assert right.ping(LEFT) == 5
    assert right.tunnel("t0")["peer"] == f"{MOVED}:2300"
    assert right.tunnel("t0")["tx"]["spi"] == key


def test_a_restarted_peer_with_another_port_is_followed(running: Pair) -> None:
    left, right = running.ends
    assert left.stop() == 0
    configure(running, OTHER_PORT)
    left.start()
    eventually(lambda: left.ping(RIGHT, 3) == 3, UP_LIMIT_S, "left is heard again")
    assert right.ping(LEFT) == 5
    assert right.tunnel("t0")["peer"] == f"{left.outer}:{OTHER_PORT}"


def test_a_group_that_is_told_to_stop_leaves_nothing(running: Pair) -> None:
    left = running.left
    pidfile, status = left.home / "pid", left.home / "status"
    assert pidfile.read_text() == str(left.processes()["guardian"])
    assert stat.S_ISSOCK(status.stat().st_mode)
    assert running.stop() == [0, 0]
    assert left.devices() == {"lo", "eth0", "eth1"}
    assert left.host.call("tests.e2e.inside:udp_ports") == []
    assert not pidfile.exists()
    assert not status.exists()
    assert list(left.runtime.iterdir()) == []
