"""What is seen on the wire: who speaks with whom, how much, and which way a device's packets go."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import pytest

from chancel.demo.talk import Count, Talk
from chancel.demo.timeline import State, Timeline
from chancel.demo.watching import WINDOW, Route
from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError

PORT = 7000
SIZE = 100
IP_AND_UDP_BYTES = 28
PACKETS = 5
PEER, EAST, WEST = "203.0.113.12", "203.0.113.21", "203.0.113.22"


def send(own: str, remote: str, count: int) -> int:
    """Send so many datagrams to a port where nobody listens; runs in a host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((own, PORT))
        for _ in range(count):
            sock.sendto(bytes(SIZE), (remote, PORT))
    return count


def test_datagrams_are_counted_by_remote_and_direction() -> None:
    try:
        lab = Lab()
    except LabError as error:
        pytest.skip(str(error))
    with lab:
        here, there = lab.host("here"), lab.host("there")
        lab.connect(here, "192.0.2.1/24", there, "192.0.2.2/24")
        task = here.start("chancel.demo.talk:talk", 0.05)
        assert next(task.progress)["remotes"] == {}
        here.call("tests.demo.test_talk:send", "192.0.2.1", "192.0.2.2", PACKETS)
        there.call("tests.demo.test_talk:send", "192.0.2.2", "192.0.2.1", PACKETS + 1)
        seen: Counter[str] = Counter()
        for talk in task.progress:
            assert set(talk["remotes"]) <= {"192.0.2.2"}
            seen.update(talk["remotes"].get("192.0.2.2", {}))
            if seen["packets_in"] > PACKETS:
                break
    each = SIZE + IP_AND_UDP_BYTES
    assert seen == {
        "packets_out": PACKETS,
        "bytes_out": PACKETS * each,
        "packets_in": PACKETS + 1,
        "bytes_in": (PACKETS + 1) * each,
    }


def count(packets: int) -> Count:
    return {"packets_in": packets, "bytes_in": 0, "packets_out": packets, "bytes_out": 0}


def talk(at: float, **packets: Any) -> Talk:
    names = {"peer": PEER, "east": EAST, "west": WEST}
    return {"at": at, "remotes": {names[name]: count(each) for name, each in packets.items()}}


def states(*talks: Talk) -> list[State]:
    timeline = Timeline(start=0.0, lanes={"left": []})
    route = Route(timeline, "left", PEER, frozenset({EAST, WEST}))
    for each in talks:
        route.take(each)
    return [change.state for change in timeline.lanes["left"]]


def test_most_datagrams_within_a_window_say_which_way() -> None:
    relayed = [talk(at, east=5) for at in range(WINDOW)]
    probing = [talk(at, west=5, peer=1) for at in range(WINDOW)]
    direct = [talk(at, peer=5) for at in range(WINDOW)]
    info = [talk(99.0, east=3, peer=5)]
    silent = [talk(100.0)] * WINDOW
    assert states(*silent) == []
    assert states(*relayed, *probing) == [State.RELAYED]
    assert states(*relayed, *direct, *info, *silent) == [State.RELAYED, State.DIRECT]
