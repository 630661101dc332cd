"""Shroud, TFC and both, with the reference on either side: what gets through, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chancel.demo.programs import CHANCEL, Program
from tests.interop.ends import End, Pair
from tests.interop.results import Results

PINGS = 50
PING_INTERVAL_S = 0.01
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 4 << 20
TCP_PORT = 5201

directions = pytest.mark.parametrize("towards", ["right", "left"])


class Case(NamedTuple):
    """What is on at both ends."""

    name: str
    directives: str
    mtu: str
    device_mtu: int


CASES = (
    Case("shroud, MTU 1300", "shroud yes\n", "1300", 1300),
    Case("shroud, MTU auto", "shroud yes\n", "auto", 1373),
    Case("TFC", "tfc on\n", "1400", 1400),
    Case("shroud and TFC", "shroud yes\ntfc on\n", "1373", 1373),
)


class Tunnel(NamedTuple):
    """A pair, and what it was made of."""

    pair: Pair
    case: Case
    side: str

    def ends(self, towards: str) -> tuple[End, End]:
        """Sender and receiver."""
        receiver = self.pair.left if towards == "left" else self.pair.right
        return self.pair.other(receiver), receiver

    def label(self, what: str) -> str:
        return f"reference {self.side}, {self.case.name}: {what}"


@pytest.fixture(
    scope="module",
    params=[(side, case) for side in ("left", "right") for case in CASES],
    ids=lambda param: f"reference-{param[0]}-{param[1].name.replace(' ', '-')}",
)
def tunnel(
    request: pytest.FixtureRequest, reference: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tunnel]:
    side, case = request.param
    programs = (reference, CHANCEL) if side == "left" else (CHANCEL, reference)
    mtus, directives = (case.mtu,) * 2, (case.directives,) * 2
    with Pair(tmp_path_factory.mktemp("masks"), *programs, mtus, directives) as pair:
        pair.wait_up()
        yield Tunnel(pair, case, side)


@directions
@pytest.mark.parametrize("fill", ["small", "full"])
def test_every_ping_is_answered_once(
    tunnel: Tunnel, results: Results, fill: str, towards: str
) -> None:
    sender, receiver = tunnel.ends(towards)
    size = 56 if fill == "small" else tunnel.case.device_mtu - IP_AND_ICMP_BYTES
    answer = sender.ping(receiver, PINGS, PING_INTERVAL_S, size)
    label = tunnel.label(f"ping {size} B to the {towards}")
    results.add(label, f"{answer['received']}/{PINGS}", f"{PINGS}/{PINGS}")
    assert (answer["received"], answer["duplicates"]) == (PINGS, 0), tunnel.pair.logs()


@directions
def test_tcp_carries_every_byte(tunnel: Tunnel, results: Results, towards: str) -> None:
    sender, receiver = tunnel.ends(towards)
    receiving = receiver.host.start("chancel.lab.bulk:receive", receiver.inner, TCP_PORT, True)
    next(receiving.progress)
    sent = sender.host.call(
        "chancel.lab.bulk:send", receiver.inner, TCP_PORT, None, TCP_BYTES, True
    )
    received = receiving.result()
    same = sent["sha256"] == received["sha256"]
    mbit_s = received["bytes"] * 8 / received["seconds"] / 1e6
    results.add(
        tunnel.label(f"TCP to the {towards}"),
        f"{received['bytes'] >> 20} MiB at {mbit_s:.0f} Mbit/s, "
        f"SHA-256 {'equal' if same else 'differs'}",
        "equal",
    )
    assert same
    assert received["bytes"] == TCP_BYTES


@pytest.mark.parametrize("who", ["reference", "chancel"])
def test_either_end_may_start_again(tunnel: Tunnel, who: str) -> None:
    end = tunnel.pair.reference if who == "reference" else tunnel.pair.ours
    end.stop()
    end.start()
    tunnel.pair.wait_up()
