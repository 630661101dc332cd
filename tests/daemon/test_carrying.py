"""Two groups with their real duties, in two networks: traffic, tunnels that come and go, deaths."""

from __future__ import annotations

import os
import signal
import socket
import time
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from chancel.daemon import guardian
from chancel.daemon.config_types import PROCESSES, Mode
from tests.daemon.network import InNetwork, neighbour
from tests.daemon.running import LIMIT_S, Running, eventually, text

LEFT, RIGHT = IPv4Interface("192.168.9.1/24"), IPv4Interface("192.168.9.2/24")
ECHO_PORT = 7


def tunnel(tmp: Path, number: int, *, left: bool) -> str:
    """One end of tunnel ``number``: 10.77.N.1 on the left, 10.77.N.2 on the right."""
    ours, theirs = (LEFT, RIGHT) if left else (RIGHT, LEFT)
    content = text(tmp, number).replace("127.0.0.1", str(ours.ip))
    if not left:
        content = content.replace(f"10.77.{number}.1", f"10.77.{number}.2")
    return f"{content}\npeer {theirs.ip}:{7000 + number}"


def be_right(tmp: Path, *numbers: int) -> None:
    """Run the right side of some tunnels, and send back what comes through them."""
    (tmp / "right").mkdir()
    texts = [tunnel(tmp, number, left=False) for number in numbers]
    Running(tmp / "right", *texts, makers=guardian.load_duties(Mode.TUNNEL))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("", ECHO_PORT))
        while True:
            echo.sendto(*echo.recvfrom(2000))


def round_trip(number: int, content: bytes, timeout: float = 0.2) -> bool:
    """Whether a datagram comes back through the tunnel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.sendto(content, (f"10.77.{number}.2", ECHO_PORT))
        try:
            return client.recv(2000) == content
        except TimeoutError:
            return False


@pytest.fixture
def left_of(tmp: Path) -> LeftOf:
    return LeftOf(tmp)


class LeftOf:
    """Starts both sides; returns the left one once its tunnels carry packets."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp

    def __call__(self, *numbers: int, right: tuple[int, ...] = ()) -> Running:
        neighbour(LEFT, RIGHT, lambda: be_right(self.tmp, *(right or numbers)))
        texts = [tunnel(self.tmp, number, left=True) for number in numbers]
        running = Running(self.tmp, *texts, makers=guardian.load_duties(Mode.TUNNEL))
        for number in numbers:
            eventually(partial(round_trip, number, b"up?"))
        return running


def test_packets_of_all_sizes(in_network: InNetwork, left_of: LeftOf) -> None:
    def test() -> None:
        running = left_of(1)
        for size in (0, 1, 700, 1371, 1372, 1400 - 28):
            assert round_trip(1, os.urandom(size), LIMIT_S), size
        (seen,) = running.ask({"do": "status"})["tunnels"]
        assert seen["peer"] == "192.168.9.2:7001"
        assert seen["post_quantum"] == "hybrid ML-KEM-1024 + X25519"
        assert (seen["exchange"]["state"], seen["exchange"]["reason"]) == ("idle", "")
        # Before the first key, and of two exchanges that cross.
        assert seen["drops"].keys() <= {"no-key", "offer-unexpected"}
        assert running.stop() == 0

    in_network(test)


def test_tunnels_come_and_go_while_others_carry(in_network: InNetwork, left_of: LeftOf) -> None:
    def test() -> None:
        running = left_of(1, right=(1, 2))
        path = running.dir / "second.conf"
        path.write_text(tunnel(running.dir, 2, left=True))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LIMIT_S)
            sent = 0
            for _ in range(2):
                pid = os.fork()
                if pid == 0:
                    add_and_remove(running, path)
                while os.waitpid(pid, os.WNOHANG) == (0, 0):
                    for number in range(sent, sent + 16):
                        client.sendto(number.to_bytes(4, "big"), ("10.77.1.2", ECHO_PORT))
                    for number in range(sent, sent + 16):
                        assert client.recv(10) == number.to_bytes(4, "big")
                    sent += 16
        assert running.log().count("tunnel removed tunnel=dm2") == 2
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


def add_and_remove(running: Running, path: Path) -> None:
    """In a process of its own, so that traffic goes on meanwhile."""
    try:
        with path.open("rb") as file:
            running.ask({"do": "add", "name": "second.conf"}, file.fileno())
        eventually(lambda: round_trip(2, b"second"))
        running.ask({"do": "remove", "instance": "dm2"})
    finally:
        os._exit(0)


@pytest.mark.parametrize("duty", PROCESSES[Mode.TUNNEL])
def test_a_group_at_work_ends_when_one_dies(
    in_network: InNetwork, left_of: LeftOf, duty: str
) -> None:
    def test() -> None:
        running = left_of(1)
        died_at = time.monotonic()
        os.kill(running.processes[duty], signal.SIGKILL)
        assert running.wait() == 1
        assert time.monotonic() - died_at < 2.0
        assert f"[guardian]: {duty} exited (signal 9)\n" in running.log()
        again = Running(
            running.dir, tunnel(running.dir, 1, left=True), makers=guardian.load_duties(Mode.TUNNEL)
        )
        eventually(lambda: round_trip(1, b"back"))
        assert again.stop() == 0

    in_network(test)
