"""Release 0.9.20 on either side: ``SANCTUM_0920=/path/to/sanctum`` (protocol section 15)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chancel.demo.programs import CHANCEL, Program
from chancel.wire.drop import Drop
from tests.interop.ends import REKEYING, End, Pair
from tests.interop.results import Results
from tests.interop.test_restart import recovery_s, tell

MTU = 1400
PINGS = 50
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 4 << 20
TCP_PORT = 5201
RECOVERY_LIMIT_S = 8.0
"""Two seconds as a rule: that release has whole ones, and is asked to answer first."""

REKEY_PINGS = 600
REKEY_INTERVAL_S = 0.05
REKEYS = 3

PROFILE = "profile 0.9\n"

HARMLESS = {
    Drop.INNER_VERSION,  # the IPv6 packets that Linux sends into any device on its own
    Drop.TFC_LENGTH,  # the same, filled up: their IPv4 length is a piece of something else
    Drop.OFFER_ALREADY_DONE,  # the reference repeats its offers until it sees us use its key
    Drop.OFFER_FRAGMENT_SEEN,
    Drop.OFFER_UNEXPECTED,
    Drop.NO_KEY,  # what our own kernel sent before the tunnel was up
    Drop.NO_MASK,
    Drop.SEND_FAILED,  # the wire's other end wasn't there yet
}

CASES = ["plain", "tfc", "encapsulation", "tfc and encapsulation"]

directions = pytest.mark.parametrize("towards", ["right", "left"])


class Tunnel:
    """A pair, and how the case is called in the table."""

    def __init__(self, pair: Pair, name: str) -> None:
        self.pair = pair
        self.name = name

    def ends(self, towards: str) -> tuple[End, End]:
        """Sender and receiver."""
        receiver = self.pair.left if towards == "left" else self.pair.right
        return self.pair.other(receiver), receiver


def directives(case: str, folder: Path) -> tuple[str, str]:
    """Ours and the reference's: the key is a file to us, and to it the directive itself."""
    ours, theirs = PROFILE, ""
    if "tfc" in case:
        ours, theirs = ours + "tfc on\n", theirs + "tfc on\n"
    if "encapsulation" in case:
        key = folder / "encapsulation"
        key.touch(0o600)
        key.write_bytes(os.urandom(32))
        ours += f"encapsulation {key}\n"
        theirs += f"encapsulation {key.read_bytes().hex()}\n"
    return ours, theirs


@pytest.fixture(
    scope="module",
    params=[(side, case) for side in ("left", "right") for case in CASES],
    ids=lambda param: f"reference-{param[0]}-{param[1]}",
)
def tunnel(
    request: pytest.FixtureRequest, legacy: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tunnel]:
    side, case = request.param
    folder: Path = tmp_path_factory.mktemp("legacy")
    ours, theirs = directives(case, folder)
    left = side == "left"
    programs = (legacy, CHANCEL) if left else (CHANCEL, legacy)
    lines = (theirs, ours) if left else (ours, theirs)
    with Pair(folder, *programs, mtus=(str(MTU), str(MTU)), directives=lines) as pair:
        pair.wait_up()
        yield Tunnel(pair, f"0.9.20 {side}, {case}")


@directions
@pytest.mark.parametrize("fill", ["small", "full"])
def test_every_ping_is_answered_once(
    tunnel: Tunnel, results: Results, fill: str, towards: str
) -> None:
    sender, receiver = tunnel.ends(towards)
    size = 56 if fill == "small" else MTU - IP_AND_ICMP_BYTES
    answer = sender.ping(receiver, PINGS, 0.01, size)
    results.add(
        f"{tunnel.name}: ping {size} B to the {towards}",
        f"{answer['received']}/{PINGS}",
        f"{PINGS}/{PINGS}",
    )
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
    mbit_s = received["bytes"] * 8 / received["seconds"] / 1e6
    results.add(
        f"{tunnel.name}: TCP to the {towards}",
        f"{received['bytes'] >> 20} MiB at {mbit_s:.0f} Mbit/s",
        f"{TCP_BYTES >> 20} MiB",
    )
    assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_both_devices_have_the_mtu(tunnel: Tunnel) -> None:
    assert [end.device_mtu() for end in tunnel.pair.ends] == [MTU, MTU]


def test_heartbeats_are_seen(tunnel: Tunnel) -> None:
    heartbeat_s = tunnel.pair.ours.status()["last_heartbeat_s"]
    assert heartbeat_s is not None
    assert heartbeat_s < 20.0


def test_nothing_that_matters_was_dropped(tunnel: Tunnel) -> None:
    assert set(tunnel.pair.ours.status()["drops"]) <= HARMLESS, tunnel.pair.logs()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("who", ["reference", "chancel"])
def test_back_after_a_restart(tunnel: Tunnel, results: Results, who: str, how: str) -> None:
    pair = tunnel.pair
    end = pair.reference if who == "reference" else pair.ours
    seconds = recovery_s(pair, end, how)
    results.add(
        f"{tunnel.name}: {who} restarted, {how}", tell([seconds]), f"≤ {RECOVERY_LIMIT_S:g} s"
    )
    assert seconds <= RECOVERY_LIMIT_S, pair.logs()


@pytest.mark.parametrize("side", ["left", "right"])
def test_nothing_is_lost_by_new_keys(
    legacy: Program, results: Results, tmp_path: Path, side: str
) -> None:
    """A tunnel in which we ask for new keys every few seconds."""
    left = side == "left"
    programs = (legacy, REKEYING) if left else (REKEYING, legacy)
    lines = ("", PROFILE) if left else (PROFILE, "")
    mtus = (str(MTU), str(MTU))
    with Pair(tmp_path, *programs, mtus=mtus, directives=lines) as pair:
        pair.wait_up()
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(
                    lambda end: end.ping(pair.other(end), REKEY_PINGS, REKEY_INTERVAL_S), pair.ends
                )
            )
        rekeys = pair.ours.log.read_text().count("send key installed") - 1
        received = [answer["received"] for answer in answers]
        results.add(f"0.9.20 {side}: {rekeys} new keys", f"{received} of {REKEY_PINGS}", "all")
        assert rekeys >= REKEYS
        assert received == [REKEY_PINGS, REKEY_PINGS], pair.logs()
