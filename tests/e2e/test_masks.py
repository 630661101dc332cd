"""Masks (shroud) and packets of one size (TFC): all arrives whole, and looks as it shall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from tests.e2e.ends import End, Pair, eventually

IP_AND_ICMP_BYTES = 28
TCP_BYTES = 2_000_000
LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
HEARD = 60

HARMLESS = {
    Drop.NO_KEY,
    Drop.NO_MASK,  # in the moment before the keeper has read the secret
    Drop.SEND_FAILED,
    Drop.OFFER_ALREADY_DONE,
    Drop.OFFER_FRAGMENT_SEEN,
    Drop.OFFER_UNEXPECTED,
}


class Case(NamedTuple):
    """Directives, and what comes of them."""

    lines: tuple[str, ...]
    mtu: int

    @property
    def shroud(self) -> bool:
        return "shroud yes" in self.lines

    @property
    def tfc(self) -> bool:
        return "tfc on" in self.lines


CASES = {
    "shroud": Case(("shroud yes",), 1373),
    "shroud-no-offload": Case(("shroud yes", "offload off"), 1300),
    "tfc": Case(("tfc on",), 1422),
    "tfc-no-offload": Case(("tfc on", "offload off"), 1000),
    "shroud-tfc": Case(("shroud yes", "tfc on"), 1373),
}


@pytest.fixture(scope="module", params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def running(case: Case, pair: Pair) -> Iterator[Pair]:
    pair.configure(0, str(case.mtu), *case.lines)
    pair.start()
    yield pair
    for end in pair.ends:
        assert {Drop(reason) for reason in end.drops("t0")} <= HARMLESS
    assert pair.stop() == [0, 0]


def ways(pair: Pair) -> list[tuple[End, End, str]]:
    """Both directions: sender, receiver, the receiver's address in the tunnel."""
    return [(pair.left, pair.right, RIGHT), (pair.right, pair.left, LEFT)]


def test_pings_of_all_sizes_come_back(running: Pair, case: Case) -> None:
    full = case.mtu - IP_AND_ICMP_BYTES
    for end, _, address in ways(running):
        for size in (0, 56, full):
            assert end.ping(address, 10, 0.01, size) == 10
        assert end.ping(address, 1, 0.01, full + 1, timeout_s=0.3) == 0
        assert end.ping(address, 5, 0.01, 4000, df=False) == 5


def test_tcp_streams_arrive_whole(running: Pair) -> None:
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("chancel.lab.bulk:receive", address, 5201, True)
        next(receiving.progress)
        sent = sender.host.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
        received = receiving.result()
        assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_udp_packets_of_mixed_sizes_arrive_whole_and_in_order(running: Pair, case: Case) -> None:
    full = case.mtu - IP_AND_ICMP_BYTES
    sizes = [10, 11, 700, full, full, 64, full, 500, 12, 12, 12, full - 1]
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("tests.e2e.inside:tally", 1)
        next(receiving.progress)
        count = sender.host.call("tests.e2e.inside:stream", [address], 1.0, 500.0, sizes)
        (seen,) = receiving.result().values()
        assert seen == {"packets": count, "highest": count - 1, "reordered": 0, "damaged": 0}


def test_what_is_outside_tells_no_more_than_it_must(running: Pair, case: Case) -> None:
    """Seen on the wire while one end starts again, so that offers are among it."""
    left, right = running.ends
    hearing = left.host.start("tests.e2e.inside:overhear", "eth0", 2300, HEARD)
    next(hearing.progress)
    right.stop()
    right.start()
    running.wait_up()
    left.ping(RIGHT, HEARD, 0.01)
    found = hearing.result()
    heard = [bytes.fromhex(each) for each in [*found["in"], *found["out"]]]
    sizes = {len(each) for each in heard}
    assert any(each.startswith(MAGIC) for each in heard) is not case.shroud
    if case.tfc:
        one = case.mtu + 50 + 49 * case.shroud
        assert {size % one for size in sizes} == {0}  # as the kernel shows trains
    else:
        assert len(sizes) > len(heard) // 3
        assert max(sizes) < case.mtu or "offload off" not in case.lines
    if case.shroud:
        assert len({each[:8] for each in heard}) == len(heard)


def test_ends_of_which_one_is_masked_do_not_understand_each_other(
    running: Pair, case: Case
) -> None:
    left, right = running.ends
    right.stop()
    file = right.home / "t0.conf"
    text = file.read_text()
    other = text.replace("shroud yes\n", "") if case.shroud else f"{text}shroud yes\n"
    file.write_text(other.replace(f" {case.mtu}\n", " 1300\n"))
    right.start()
    reason = Drop.BAD_MASK if case.shroud else Drop.SEQUENCE_MISMATCH
    eventually(lambda: left.drops("t0").get(reason, 0) > 0, 10.0, f"left counts {reason}")
    right.stop()
    file.write_text(text)
    left.stop()
    running.start()
