"""``chancel status --why`` names the cause of what is provoked here, and only that."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from chancel.lab.lab import Host, Lab
from chancel.sim.models import LinkModel
from tests.e2e.ends import PROGRAM, End, Pair, eventually
from tests.e2e.test_clock import offer_from

LIMIT_S = 45.0
PORT = 2300


@pytest.fixture
def hosts(lab: Lab, request: pytest.FixtureRequest) -> tuple[Host, Host]:
    name = request.node.name.removeprefix("test_")[:20]
    return lab.host(f"l-{name}"), lab.host(f"r-{name}")


def joined(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> Pair:
    """Two hosts on a wire, with the files of one tunnel."""
    pair = Pair(*hosts, folder)
    lab.connect(hosts[0], f"{pair.left.outer}/24", hosts[1], f"{pair.right.outer}/24")
    pair.configure(0, "1422")
    return pair


def why(end: End) -> dict[str, Any]:
    """What the command tells programs about the one tunnel."""
    (tunnel,) = json.loads(run(end, "--json"))["tunnels"]
    assert isinstance(tunnel, dict)
    return tunnel


def run(end: End, *options: str) -> str:
    command = [*PROGRAM, "status", "--why", *options, "--runtime-dir", str(end.runtime)]
    environment = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True, timeout=LIMIT_S
    )
    return done.stdout


def told(end: End, code: str) -> str:
    """Wait until the command names this cause alone; the sentence."""
    until = time.monotonic() + LIMIT_S
    while True:
        failed = why(end)["failed"] if end.tunnels() else []
        if [each["code"] for each in failed] == [code]:
            break
        assert time.monotonic() < until, f"{code} is not named, but {failed}"
    (finding,) = failed
    assert finding["do"]
    return str(finding["says"])


def test_a_peer_that_is_down(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    pair = joined(lab, hosts, folder)
    pair.left.start()
    says = told(pair.left, "no-answer")
    assert says.startswith("no answer: ")
    assert f"offers sent to {pair.right.outer}:{PORT} in " in says
    assert says.endswith("nothing came back")
    pair.right.start()
    pair.wait_up()
    eventually(lambda: why(pair.left)["failed"] == [], LIMIT_S, "nothing is wrong any more")
    assert "nothing is wrong" in run(pair.left)
    assert why(pair.left)["path"].startswith(f"{pair.right.outer}:{PORT} (configured) for ")
    assert pair.stop() == [0, 0]


def test_blocked_udp(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    """The wire carries nothing: no different from a peer that is down, and told so."""
    pair = Pair(*hosts, folder)
    network = lab.network("192.168.201.0/24", LinkModel(loss=1.0))
    for host, end in zip(hosts, pair.ends, strict=True):
        network.join(host, end.outer)
    pair.configure(0, "1422")
    for end in pair.ends:
        end.start()
    for end in pair.ends:
        assert "UDP port 2300" in (told(end, "no-answer") and why(end)["failed"][0]["do"])
    network.set_model(LinkModel())
    for end in pair.ends:
        eventually(lambda end=end: why(end)["failed"] == [], LIMIT_S, "it recovers")  # type: ignore[misc]
    assert pair.stop() == [0, 0]


def test_no_route(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    pair = joined(lab, hosts, folder)
    hosts[0].call("tests.e2e.inside:set_up", "eth0", False)
    pair.left.start()
    says = told(pair.left, "cannot-send")
    assert says == f"this machine has no route to {pair.right.outer}:{PORT} (ENETUNREACH)"
    assert pair.left.stop() == 0


def test_different_secrets(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    pair = joined(lab, hosts, folder)
    pair.right.write_secret(pair.right.secret, secrets.token_bytes(32))
    for end in pair.ends:
        end.start()
    for end in pair.ends:
        assert "different secrets" in told(end, "wrong-secret")
    assert pair.stop() == [0, 0]


def test_a_clock_that_is_wrong(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    """The peer's offers are made here: a clock is the one thing that a lab's hosts share."""
    pair = joined(lab, hosts, folder)
    pair.left.start()
    eventually(lambda: bool(pair.left.tunnels()), LIMIT_S, "left runs")
    until = time.monotonic() + LIMIT_S
    while [each["code"] for each in why(pair.left)["failed"]] != ["clock"]:
        assert time.monotonic() < until
        offers = [offer_from(pair.key, 43).hex() for _ in range(3)]
        hosts[1].call("tests.e2e.inside:throw", offers, pair.left.outer, PORT, 100.0)
    says = told(pair.left, "clock")
    assert says.startswith("your clock is 4")
    assert says.endswith(" s behind the peer's, so each end refuses the other's offers")
    assert pair.left.stop() == 0


def test_an_accept_that_is_missing(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    pair = joined(lab, hosts, folder)
    path = pair.right.home / "t0.conf"
    path.write_text(path.read_text() + "route 172.17.0.0/24\n")
    hosts[0].call("tests.e2e.inside:add_address", "lo", "172.17.0.1/32")
    pair.start()
    assert pair.right.ping("172.17.0.1", 5, timeout_s=0.2) == 0
    says = told(pair.left, "not-accepted")
    assert says == (
        "packets from 10.77.0.2 to 172.17.0.1 are refused: only 10.77.0.0/30 may appear inside"
    )
    assert "accept 172.17.0.1/32" in why(pair.left)["failed"][0]["do"]
    assert why(pair.right)["failed"] == []
    assert pair.stop() == [0, 0]


def test_an_mtu_that_is_too_large(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    pair = joined(lab, hosts, folder)
    hosts[0].call("tests.e2e.inside:set_mtu", "eth0", 1300)
    pair.start()
    assert pair.left.ping("10.77.0.2", 5, 0.02, 1394, timeout_s=0.2) == 0
    says = told(pair.left, "mtu-too-large")
    assert says == "packets of the tunnel's MTU of 1422 don't fit the network outside"
    assert pair.stop() == [0, 0]


def test_a_secret_that_is_gone(lab: Lab, hosts: tuple[Host, Host], folder: Path) -> None:
    pair = joined(lab, hosts, folder)
    pair.left.start()
    eventually(lambda: bool(pair.left.tunnels()), LIMIT_S, "left runs")
    pair.left.secret.unlink()
    assert told(pair.left, "secret-unreadable") == "the shared secret can't be read"
    assert pair.left.stop() == 0
