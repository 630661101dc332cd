"""Whoever may speak to control can't bring a tunnel down with it, nor fill a disk with its log."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from chancel.daemon import guardian, linux
from chancel.daemon.allowance import Allowance
from chancel.daemon.config_types import Mode
from tests.daemon.network import InNetwork, neighbour
from tests.daemon.running import LIMIT_S, Running, eventually, text
from tests.daemon.test_carrying import LEFT, RIGHT, be_right, round_trip, tunnel
from tests.daemon.test_guardian import MAKERS

DATAGRAMS, LINES, HEADS = 5_000, 4_000, 1_000
"""A tenth of what ``make fuzz ARGS=campaign`` says to a group."""
LOG_LINES = 100
EACH = 20
"""Lines for each connection, if it lives that long."""


def hostile_datagram(rng: random.Random) -> bytes:
    """Anything but a request; and requests, from somebody who doesn't wait for answers."""
    return rng.choice([b"", b"\x01", b"\x01" * 9, rng.randbytes(rng.randrange(1, 600))])


def hostile_line(rng: random.Random) -> bytes:
    makers: list[Callable[[], bytes]] = [
        lambda: rng.randbytes(rng.randrange(1, 300)) + b"\n",
        lambda: b"[" * rng.randrange(1, 5000) + b"\n",
        lambda: b"9" * rng.randrange(1, 9000) + b"\n",
        # Not "stop": whoever may speak here may end the group, and that would be no abuse.
        lambda: json.dumps({"do": rng.choice(["add", "halt", 7, None, "x" * 99])}).encode() + b"\n",
        lambda: b'{"do": "watch", "interval_s": %s}\n' % rng.choice([b"NaN", b"-1", b"1e999"]),
        lambda: b'{"do": "remove", "instance": "%s"}\n' % rng.choice([b"nave", b"dm1"]),
        lambda: b'{"do": "status"}\n',
        lambda: b'{"do": "status"}\n{"do": "status"}\n',
        lambda: b'{"do"',
        lambda: b"{}\x00\n",
    ]
    return rng.choice(makers)()


def hostile_head(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"GET /metrics HTTP/1.1\r\n\r\n",
            b"GET /%s HTTP/1.1\r\n\r\n" % rng.randbytes(9).hex().encode(),
            rng.randbytes(rng.randrange(1, 9000)),
            b"\r\n\r\n",
        ]
    )


def throw_datagrams(path: str, rng: random.Random) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT_S)
        for _ in range(DATAGRAMS):
            client.sendto(hostile_datagram(rng), path)


def throw_streams(path: str, messages: int, make: Callable[[], bytes]) -> None:
    """Talk without listening, on one connection after the other."""
    sent = 0
    while sent < messages:
        with socket.socket(socket.AF_UNIX) as stream, contextlib.suppress(OSError):
            stream.settimeout(LIMIT_S)
            stream.connect(path)
            for _ in range(EACH):
                sent += 1
                stream.sendall(make())


def test_ten_thousand_hostile_messages(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        neighbour(LEFT, RIGHT, lambda: be_right(tmp, 1))
        content = tunnel(tmp, 1, left=True) + f"\ncontrol {tmp}/ref.sock root"
        running = Running(tmp, content, makers=guardian.load_duties(Mode.TUNNEL))
        eventually(lambda: round_trip(1, b"up?"))
        before = len(running.log().splitlines())
        rng = random.Random(7)
        throwing = os.fork()
        if throwing == 0:
            status = 1
            try:
                linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
                throw_datagrams(f"{tmp}/ref.sock", rng)
                throw_streams(f"{tmp}/dm1.ctl", LINES, lambda: hostile_line(rng))
                throw_streams(f"{tmp}/dm1.metrics", HEADS, lambda: hostile_head(rng))
                status = 0
            finally:
                os._exit(status)
        carried = 0
        for number in itertools.count():
            pid, status = os.waitpid(throwing, os.WNOHANG)
            if pid:
                break
            carried += round_trip(1, number.to_bytes(4, "big"), LIMIT_S)
        assert status == 0, "not all was thrown"
        assert carried == number > 0
        eventually(lambda: answers(running))
        assert running.instances() == ["dm1"]
        assert len(running.log().splitlines()) - before < LOG_LINES
        assert running.stop() == 0

    in_network(test)


def answers(running: Running) -> bool:
    """Whether control listens again: the tokens of all were spent."""
    try:
        return bool(running.ask({"do": "status"})["ok"])
    except Exception:  # noqa: BLE001 - refused, one way or another
        return False


def test_who_asks_too_often_is_sent_away_and_others_are_not(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(LIMIT_S)
            stream.connect(str(tmp / "dm1.ctl"))
            lines = stream.makefile("rb")
            refusals = 0
            for _ in range(1000):
                try:
                    stream.sendall(b'{"do": "nothing"}\n')
                    line = lines.readline()
                except (BrokenPipeError, ConnectionResetError):
                    break
                if not line:
                    break
                refusals += "too many requests (expected at most 50" in json.loads(line)["error"]
            else:
                raise AssertionError("nobody was sent away")
            assert refusals == 1
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


def test_an_allowance_fills_up_again_to_its_burst() -> None:
    allowance = Allowance(rate=2.0, burst=3.0)
    assert [allowance.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(10.4), allowance.take(10.5), allowance.take(10.5)] == [
        False,
        True,
        False,
    ]
    assert [allowance.take(99.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(98.0)  # a clock that goes back gives nothing
