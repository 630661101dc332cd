"""What only shows after a while. Several tunnels live through the same minute, side by side."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from chancel.demo.programs import CHANCEL, Program
from tests.interop.conftest import MakePair
from tests.interop.ends import REKEYING, Pair
from tests.interop.results import Results

MINUTE_S = 60
PING_INTERVAL_S = 0.05
PINGS = int(MINUTE_S / PING_INTERVAL_S)

NARROW_MTU = 1300
"""Of the wire; the discovery's first size that fits has 1280 bytes in all."""
NARROW_FOUND = 1280 - 78

FIRST_BELOW_1400 = 1422 - 78
"""The first size of the discovery that an end with a fixed MTU of 1400 acknowledges."""

REKEYS = 5

pytestmark = pytest.mark.timeout(200)


class Minute(NamedTuple):
    """The tunnels, and what became of the pings in three of them."""

    idle: Pair
    we_search: Pair
    they_search: Pair
    narrow: Pair
    rekeying: Pair
    keys_before: dict[str, Any]
    """Our idle end's status at the beginning."""
    busy_pings: list[Any]
    rekeying_pings: list[Any]
    first_after_silence: Any


@pytest.fixture(scope="module")
def minute(make_pair: MakePair, reference: Program) -> Minute:
    busy = make_pair(reference, CHANCEL)
    idle = make_pair(CHANCEL, reference)
    we_search = make_pair(CHANCEL, reference, mtus=("auto", "1400"))
    they_search = make_pair(CHANCEL, reference, mtus=("1400", "auto"))
    narrow = make_pair(reference, CHANCEL, mtus=("auto", "auto"))
    for end in narrow.ends:
        end.host.call("tests.interop.ends:narrow", NARROW_MTU)
    rekeying = make_pair(reference, REKEYING)
    for pair in (busy, idle, we_search, they_search, narrow, rekeying):
        pair.wait_up()
    time.sleep(1.0)
    keys_before = idle.ours.status()
    pings = [
        (end, pair.other(end), PINGS, PING_INTERVAL_S)
        for pair in (busy, rekeying)
        for end in pair.ends
    ]
    with ThreadPoolExecutor(len(pings)) as pool:
        answers = list(pool.map(lambda ping: ping[0].ping(*ping[1:]), pings))
    return Minute(
        idle,
        we_search,
        they_search,
        narrow,
        rekeying,
        keys_before,
        answers[:2],
        answers[2:],
        idle.left.ping(idle.right, 1, 0.0),
    )


def test_no_ping_of_a_minute_is_lost(minute: Minute, results: Results) -> None:
    received = [answer["received"] for answer in minute.busy_pings]
    results.add(f"{MINUTE_S} s of pings each way", f"{received} of {PINGS}", "all")
    assert received == [PINGS, PINGS]


def test_heartbeats_keep_a_silent_tunnel_up(minute: Minute, results: Results) -> None:
    """Twice the time after which either end would ask for new keys."""
    before, after = minute.keys_before, minute.idle.ours.status()
    heard_s = after["last_heartbeat_s"]
    results.add(f"{MINUTE_S} s without traffic", f"up, last heartbeat {heard_s:.0f} s ago", "up")
    assert minute.first_after_silence["received"] == 1
    assert [before[d]["spi"] for d in ("tx", "rx")] == [after[d]["spi"] for d in ("tx", "rx")]
    assert heard_s < 16.5


def test_no_ping_is_lost_to_new_keys(minute: Minute, results: Results) -> None:
    log = minute.rekeying.ours.log.read_text()
    rekeys = log.count("send key installed") - 1
    received = [answer["received"] for answer in minute.rekeying_pings]
    results.add(f"{rekeys} new keys under pings", f"{received} of {PINGS}", "all")
    assert rekeys >= REKEYS
    assert received == [PINGS, PINGS], minute.rekeying.logs()


def test_the_reference_answers_our_probes(minute: Minute, results: Results) -> None:
    """It stays silent about the first ones, which are above its maximum."""
    mtu = minute.we_search.ours.device_mtu()
    results.add("our MTU auto, the reference's 1400", str(mtu), str(FIRST_BELOW_1400))
    assert mtu == FIRST_BELOW_1400, minute.we_search.logs()


def test_we_answer_its_probes_and_never_above_our_maximum(minute: Minute, results: Results) -> None:
    mtu = minute.they_search.reference.device_mtu()
    results.add("the reference's MTU auto, ours 1400", str(mtu), str(FIRST_BELOW_1400))
    assert mtu == FIRST_BELOW_1400, minute.they_search.logs()


def test_both_find_the_mtu_of_a_narrow_path(minute: Minute, results: Results) -> None:
    mtus = [end.device_mtu() for end in minute.narrow.ends]
    results.add(f"both MTU auto, path of {NARROW_MTU}", str(mtus), str(NARROW_FOUND))
    assert mtus == [NARROW_FOUND, NARROW_FOUND], minute.narrow.logs()
