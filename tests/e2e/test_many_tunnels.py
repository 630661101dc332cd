"""Sixteen tunnels in one group: tunnels come and go, and the others don't lose a packet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chancel.daemon import ctl
from chancel.lab.lab import Task
from tests.e2e.ends import UP_LIMIT_S, End, Pair, eventually

TUNNELS = 16
LEAVES, COMES, RETURNS = 3, 77, 5
STAY = [number for number in range(TUNNELS) if number != LEAVES]
SECONDS = 8.0
RATE_PPS = 60.0
SIZES = [200, 1300, 64]


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    for number in range(TUNNELS):
        pair.configure(number, "1422")
    pair.start()
    pair.configure(COMES, "1422")
    yield pair
    assert pair.stop() == [0, 0]


def streams(sender: End, receiver: End, own: int) -> tuple[Task, Task]:
    """A stream through each tunnel that stays; the receiver's last octets are ``own``."""
    receiving = receiver.host.start("tests.e2e.inside:tally", len(STAY))
    next(receiving.progress)
    targets = [f"10.77.{number}.{own}" for number in STAY]
    return sender.host.start(
        "tests.e2e.inside:stream", targets, SECONDS, RATE_PPS, SIZES
    ), receiving


def join(end: End, number: int) -> None:
    path = end.home / f"t{number}.conf"
    with path.open("rb") as file:
        ctl.add(end.control(), str(path), file.fileno())


def test_tunnels_come_and_go_without_loss_in_the_others(running: Pair) -> None:
    left, right = running.ends
    traffic = [(*streams(left, right, 2), 1), (*streams(right, left, 1), 2)]

    for end in running.ends:
        ctl.remove(end.control(), f"t{LEAVES}")
        join(end, COMES)
    eventually(lambda: left.is_up() and right.is_up(), UP_LIMIT_S, "the new tunnel is up")
    eventually(lambda: left.ping(f"10.77.{COMES}.2") == 5, UP_LIMIT_S, "it carries packets")
    assert left.ping(f"10.77.{LEAVES}.2", 1) == 0
    assert all(task.program.poll() is None for each in traffic for task in each[:2])

    for sending, receiving, octet in traffic:
        count = sending.result()
        lossless = {"packets": count, "highest": count - 1, "reordered": 0, "damaged": 0}
        assert receiving.result() == {f"10.77.{number}.{octet}": lossless for number in STAY}


def test_a_tunnel_that_left_can_come_back(running: Pair) -> None:
    tunnels = set(running.left.tunnels())
    for end in running.ends:
        ctl.remove(end.control(), f"t{RETURNS}")
        assert f"t{RETURNS}" not in end.devices()
        join(end, RETURNS)
    running.wait_up()
    assert set(running.left.tunnels()) == tunnels
    eventually(
        lambda: running.right.ping(f"10.77.{RETURNS}.1") == 5, UP_LIMIT_S, "it carries packets"
    )
