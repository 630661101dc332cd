"""A tunnel with the reference on either side, its MTU fixed or found: what gets through."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.demo.programs import CHANCEL, Program
from chancel.wire.drop import Drop
from tests.interop.ends import End, Pair
from tests.interop.results import Results

PINGS = 100
PING_INTERVAL_S = 0.01
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 4 << 20
TCP_PORT = 5201

MTUS = {"1400": 1400, "auto": 1422}
"""The directive's word, and the device's MTU."""

HARMLESS = {
    Drop.INNER_VERSION,  # the IPv6 packets that Linux sends into any device on its own
    Drop.OFFER_ALREADY_DONE,  # the reference repeats its offers until it sees us use its key
    Drop.OFFER_FRAGMENT_SEEN,
    Drop.OFFER_UNEXPECTED,
    Drop.NO_KEY,  # what our own kernel sent before the tunnel was up
    Drop.SEND_FAILED,  # the wire's other end wasn't there yet
}

directions = pytest.mark.parametrize("towards", ["right", "left"])


class Tunnel:
    """A pair, and how the case is called in the table."""

    def __init__(self, pair: Pair, name: str, mtu: int) -> None:
        self.pair = pair
        self.name = name
        self.mtu = mtu

    def ends(self, towards: str) -> tuple[End, End]:
        """Sender and receiver."""
        receiver = self.pair.left if towards == "left" else self.pair.right
        return self.pair.other(receiver), receiver


@pytest.fixture(
    scope="module",
    params=[(side, mtu) for side in ("left", "right") for mtu in MTUS],
    ids=lambda param: f"reference-{param[0]}-mtu-{param[1]}",
)
def tunnel(
    request: pytest.FixtureRequest, reference: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tunnel]:
    side, word = request.param
    programs = (reference, CHANCEL) if side == "left" else (CHANCEL, reference)
    folder: Path = tmp_path_factory.mktemp("tunnel")
    with Pair(folder, *programs, mtus=(word, word)) as pair:
        pair.wait_up()
        yield Tunnel(pair, f"reference {side}, MTU {word}", MTUS[word])


@directions
@pytest.mark.parametrize("fill", ["small", "full"])
def test_every_ping_is_answered_once(
    tunnel: Tunnel, results: Results, fill: str, towards: str
) -> None:
    sender, receiver = tunnel.ends(towards)
    size = 56 if fill == "small" else tunnel.mtu - IP_AND_ICMP_BYTES
    answer = sender.ping(receiver, PINGS, PING_INTERVAL_S, size)
    rtt_ms = statistics.median(rtt or 1.0 for rtt in answer["rtts_s"]) * 1e3
    results.add(
        f"{tunnel.name}: ping {size} B to the {towards}",
        f"{answer['received']}/{PINGS}, median {rtt_ms:.2f} ms",
        f"{PINGS}/{PINGS}",
    )
    assert (answer["received"], answer["duplicates"]) == (PINGS, 0)


@directions
def test_fragments_get_through(tunnel: Tunnel, towards: str) -> None:
    sender, receiver = tunnel.ends(towards)
    answer = sender.host.call("chancel.lab.ping:ping", receiver.inner, 10, 0.02, 4000, False)
    assert answer["received"] == 10


@directions
def test_tcp_carries_every_byte(tunnel: Tunnel, results: Results, towards: str) -> None:
    sender, receiver = tunnel.ends(towards)
    receiving = receiver.host.start("chancel.lab.bulk:receive", receiver.inner, TCP_PORT, True)
    next(receiving.progress)
    sent = sender.host.call(
        "chancel.lab.bulk:send", receiver.inner, TCP_PORT, None, TCP_BYTES, True
    )
    received = receiving.result()
    mbit_s = received["bytes"] * 8 / received["seconds"] / 1e6
    same = sent["sha256"] == received["sha256"]
    results.add(
        f"{tunnel.name}: TCP to the {towards}",
        f"{received['bytes'] >> 20} MiB at {mbit_s:.0f} Mbit/s, "
        f"SHA-256 {'equal' if same else 'differs'}",
        "equal",
    )
    assert same
    assert received["bytes"] == TCP_BYTES


def test_both_devices_have_the_mtu(tunnel: Tunnel) -> None:
    assert [end.device_mtu() for end in tunnel.pair.ends] == [tunnel.mtu, tunnel.mtu]


def test_nothing_that_matters_was_dropped(tunnel: Tunnel) -> None:
    assert set(tunnel.pair.ours.status()["drops"]) <= HARMLESS, tunnel.pair.logs()
