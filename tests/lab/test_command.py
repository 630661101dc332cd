"""``chancel lab`` by script."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from chancel.lab.command import duration_s, probability

PINGER = """
from chancel.lab.ping import ping
rtts = [echo["rtt_s"] for echo in ping("192.168.201.2", 3, 0.01)]
assert all(0.02 <= rtt < 1 for rtt in rtts), rtts
print("pinged")
"""


def chancel_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chancel.cli.main", "lab", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("options", [(), ("--nat", "symmetric"), ("--rate", "10")])
def test_a_program_meets_its_peer(options: tuple[str, ...]) -> None:
    done = chancel_lab("--latency", "10ms", *options, "--", sys.executable, "-c", PINGER)
    assert (done.stdout, done.returncode) == ("pinged\n", 0), done.stderr
    assert "host b is 192.168.201.2" in done.stderr


@pytest.mark.usefixtures("lab")
def test_the_hosts_have_ipv6_when_asked() -> None:
    pinger = PINGER.replace("192.168.201.2", "2001:db8:201::2")
    done = chancel_lab(
        "--ipv6", "--nat", "symmetric", "--latency", "10ms", "--", sys.executable, "-c", pinger
    )
    assert (done.stdout, done.returncode) == ("pinged\n", 0), done.stderr
    assert "(10.0.0.2, 2001:db8:201::1); host b is 192.168.201.2, 2001:db8:201::2" in done.stderr


@pytest.mark.usefixtures("lab")
def test_the_status_is_the_program_s() -> None:
    assert chancel_lab("--", "sh", "-c", "exit 7").returncode == 7


@pytest.mark.usefixtures("lab")
def test_the_peer_runs_a_command_meanwhile() -> None:
    receive = "from chancel.lab import bulk; list(bulk.receive('192.168.201.2'))"
    send = "from chancel.lab import bulk; list(bulk.send('192.168.201.2', total_bytes=1000))"
    peer = shlex.join([sys.executable, "-c", receive])
    assert chancel_lab("--peer", peer, "--", sys.executable, "-c", send).returncode == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--latency", "10"), "write it as 20ms or 1.5s"),
        (("--loss", "120%"), "write it as 1% or 0.01"),
        (("--nat", "cheese"), "known are full-cone"),
    ],
)
def test_wrong_usage_is_one_line(options: tuple[str, ...], complaint: str) -> None:
    done = chancel_lab(*options, "--", "true")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_durations_and_shares() -> None:
    assert [duration_s(text) for text in ("20ms", "1.5s", "300us")] == [0.02, 1.5, 300e-6]
    assert [probability(text) for text in ("1%", "0.25", "100%", "0")] == [0.01, 0.25, 1.0, 0.0]
