"""TAP with the reference on either side, and IPv6 inside, which it doesn't carry.

The reference reads at most "MTU" bytes of a frame, Ethernet header included, so it cuts what is
larger by up to 14 bytes: towards us no packet may be larger than the MTU less those. It takes whole
frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.demo.programs import CHANCEL, Program
from chancel.wire.drop import Drop
from tests.interop.ends import End, Pair
from tests.interop.results import Results

MTU = 1400
ETHERNET_BYTES = 14
IP_AND_ICMP_BYTES = 28
UNCUT = MTU - ETHERNET_BYTES
PINGS = 50
TCP_BYTES = 4 << 20
BLAST = 100
BRIDGE = "br0"
BRIDGE_LIMIT_S = 20.0
PING = "chancel.lab.ping:ping"
SENDING, RECEIVING = "chancel.lab.blast:send", "chancel.lab.blast:receive"

HARMLESS = {
    Drop.INNER_ETHERTYPE,  # what a bridge sends on its own
    Drop.NO_KEY,
    Drop.OFFER_ALREADY_DONE,
    Drop.OFFER_FRAGMENT_SEEN,
    Drop.OFFER_UNEXPECTED,
    Drop.SEND_FAILED,
}

directions = pytest.mark.parametrize("towards", ["right", "left"])


@pytest.fixture(
    scope="module",
    params=[(side, bridge) for side in ("left", "right") for bridge in (True, False)],
    ids=lambda param: f"reference-{param[0]}{'-bridge' if param[1] else ''}",
)
def tunnel(
    request: pytest.FixtureRequest, reference: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two segments made one; the hosts' addresses are on the bridges, or on the devices."""
    side, bridge = request.param
    programs = (reference, CHANCEL) if side == "left" else (CHANCEL, reference)
    lines = f"tunnel 0.0.0.0/0 {MTU}\ntap yes\n" + (f"bridge {BRIDGE}\n" if bridge else "")
    folder: Path = tmp_path_factory.mktemp("tap")
    with Pair(folder, *programs, directives=(lines, lines)) as pair:
        for end in pair.ends:
            name = BRIDGE if bridge else end.host.name
            eventually(lambda end=end, name=name: name in devices(end), f"{name} of {end.inner}")  # type: ignore[misc]
            end.host.call("tests.e2e.inside:add_address", name, f"{end.inner}/30")
            end.host.call("tests.e2e.inside:set_mtu", name, UNCUT if bridge else MTU)
        pair.wait_up()
        yield pair


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BRIDGE_LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {BRIDGE_LIMIT_S:g} s: {what}"
        time.sleep(0.05)


def devices(end: End) -> set[str]:
    return {name for _, name in end.host.call("socket:if_nameindex")}


def ends(pair: Pair, towards: str) -> tuple[End, End]:
    """Sender and receiver."""
    receiver = pair.left if towards == "left" else pair.right
    return pair.other(receiver), receiver


def name_of(tunnel: Pair) -> str:
    """How the case is called in the table."""
    kind = "TAP and bridge" if BRIDGE in devices(tunnel.ours) else "TAP"
    return f"{kind}, reference {tunnel.reference.host.name}"


@directions
@pytest.mark.parametrize("size", [0, 56, UNCUT - IP_AND_ICMP_BYTES])
def test_every_ping_is_answered_once(
    tunnel: Pair, results: Results, size: int, towards: str
) -> None:
    sender, receiver = ends(tunnel, towards)
    answer = sender.ping(receiver, PINGS, 0.01, size)
    results.add(
        f"{name_of(tunnel)}: ping {size} B to the {towards}",
        f"{answer['received']}/{PINGS}",
        f"{PINGS}/{PINGS}",
    )
    assert (answer["received"], answer["duplicates"]) == (PINGS, 0), tunnel.logs()


def test_whole_frames_reach_the_reference(tunnel: Pair) -> None:
    """One way: its answers would be cut."""
    ours, theirs = tunnel.ours, tunnel.reference
    name = BRIDGE if BRIDGE in devices(ours) else ours.host.name
    ours.host.call("tests.e2e.inside:set_mtu", name, MTU)
    receiving = theirs.host.start(RECEIVING, theirs.inner)
    next(receiving.progress)
    size = MTU - IP_AND_ICMP_BYTES
    ours.host.call(SENDING, theirs.inner, 5202, BLAST, size, 500.0)
    assert receiving.result()["packets"] == BLAST
    if name == BRIDGE:
        ours.host.call("tests.e2e.inside:set_mtu", name, UNCUT)


@directions
def test_tcp_carries_every_byte(tunnel: Pair, results: Results, towards: str) -> None:
    if BRIDGE not in devices(tunnel.ours):
        for end in tunnel.ends:  # below what the reference would cut
            end.host.call("tests.e2e.inside:set_mtu", end.host.name, UNCUT)
    sender, receiver = ends(tunnel, towards)
    receiving = receiver.host.start("chancel.lab.bulk:receive", receiver.inner, 5201, True)
    next(receiving.progress)
    sent = sender.host.call("chancel.lab.bulk:send", receiver.inner, 5201, None, TCP_BYTES, True)
    received = receiving.result()
    results.add(
        f"{name_of(tunnel)}: TCP to the {towards}",
        f"{received['bytes'] * 8 / received['seconds'] / 1e6:.0f} Mbit/s",
        "equal",
    )
    assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_nothing_that_matters_was_dropped(tunnel: Pair) -> None:
    status = tunnel.ours.status()
    assert set(status["drops"]) <= HARMLESS, tunnel.logs()
    assert status["tap"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_ipv6_inside_is_lost_on_the_reference_and_does_no_harm(
    reference: Program, tmp_path: Path, side: str
) -> None:
    programs = (reference, CHANCEL) if side == "left" else (CHANCEL, reference)
    six = ("", "tunnel6 fd77::1/64\n") if side == "left" else ("tunnel6 fd77::1/64\n", "")
    with Pair(tmp_path, *programs, directives=six) as pair:
        pair.wait_up()
        for size in (56, MTU - 48):
            answer = pair.ours.host.call(PING, "fd77::2", 20, 0.01, size, True, 0.5)
            assert answer["received"] == 0
        for end in pair.ends:
            assert end.ping(pair.other(end), PINGS, 0.01)["received"] == PINGS, pair.logs()
        drops = set(pair.ours.status()["drops"])
        chatter = {Drop.INNER_ADDRESS, Drop.INNER_PROTOCOL}
        assert drops <= HARMLESS | chatter, "what the reference's kernel sends on its own"
