"""Twice of what a tunnel can take: it carries on, and what it carries is nearly as much as ever.

Some seconds of it; ``make soak`` does it for a minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.lab.lab import Lab
from chancel.wire.drop import Drop
from tests.e2e import overload, renewing, report
from tests.e2e.ends import Pair
from tests.e2e.overload import RIGHT, Overload

SECONDS = float(os.environ.get("CHANCEL_OVERLOAD_S", "8"))
ROUNDS = 4
BELOW_S = 0.5
"""How long just the limit is offered, in each round; before it, twice that for the rest of it."""

REKEY_S = 2.0
KEYS_WITHIN_S = 8.0
"""A renewed key needs its age, an exchange, and the peer's use of it; offers may be lost."""

LEAST_SHARE = 0.7
LEAST_BUSY = 0.9
"""Of the time: whoever sleeps while packets wait gives away what he could carry."""

MOST_GROWTH_KB = 24 * 1024
"""Of one process: it touches all of its lanes, and fills its caches of views."""

SILENCE_S = 30.0
"""After which a peer is asked whether it lives; the burst after a new key has a beat a second."""

PINGS = 5
EXPECTED = {
    Drop.NO_KEY,
    Drop.OFFER_ALREADY_DONE,
    Drop.OFFER_FRAGMENT_SEEN,
    Drop.OFFER_UNEXPECTED,
    Drop.UNKNOWN_SPI,
    Drop.SEND_FAILED,
    Drop.DEVICE_WRITE_FAILED,
}
GIVEN_UP = ("reason=heartbeat timeout", "reason=no keys", "restarted", "unresponsive", "be down")
"""What is said of a tunnel that isn't what it was."""

pytestmark = pytest.mark.timeout(180 + 10 * SECONDS)


@pytest.fixture(scope="module")
def load(lab: Lab, folder: Path, mode: str) -> Iterator[tuple[Pair, Overload]]:
    left, right = lab.host(f"{mode}-left"), lab.host(f"{mode}-right")
    pair = Pair(left, right, folder)
    lab.veth(left, f"{pair.left.outer}/24", right, f"{pair.right.outer}/24")
    pair.configure(0, "1400", *overload.LINES, *report.MODES[mode])
    for end in pair.ends:
        end.command = renewing.command(REKEY_S)
    with overload.on_one_processor() as cpu:
        pair.start()
    made = Overload(pair, cpu)
    yield pair, made
    made.close()
    assert pair.stop() == [0, 0]


def test_twice_of_what_it_can_take(load: tuple[Pair, Overload], mode: str) -> None:
    pair, tunnel = load
    limit = tunnel.limit()
    started = time.monotonic()
    logged = [len(end.logged("")) for end in pair.ends]
    before, installed = overload.memory_kb(pair), keys(pair)
    over, below, beats = [], [], []
    for number in range(ROUNDS):
        over.append(tunnel.overload(2 * limit, SECONDS / ROUNDS - BELOW_S))
        limit = max(limit, over[-1].delivered)
        beats += [end.tunnel("t0")["last_heartbeat_s"] for end in pair.ends]
        below.append(tunnel.measure(limit, BELOW_S))
        report.tell(
            f"overload, {mode}, round {number + 1} of {ROUNDS}: of {over[-1].offered:,.0f} packets"
            f" a second {over[-1].delivered:,.0f} came; at the limit {below[-1].delivered:,.0f}"
        )
    tunnel.measure(2 * limit, BELOW_S)
    assert pair.left.ping(RIGHT, PINGS) == PINGS, "at once"

    best = overload.typical(below)
    renewed = [now - then for now, then in zip(keys(pair), installed, strict=True)]
    after = overload.memory_kb(pair)
    carried, seconds = overload.typical(over), time.monotonic() - started
    report.ALL.append(
        report.Done(
            *("UDP, twice of what it can take", mode, f"{carried / best:.0%} of the best", seconds),
            *(f"{carried:,.0f} packets/s", min(renewed)),
            *(sum(before.values()) / 1024, sum(after.values()) / 1024),
        )
    )
    # Where nobody else wants the processor, the two together are the share of the best rate.
    assert overload.for_work(over) >= LEAST_SHARE * overload.for_work(below), (limit, over, below)
    assert min(each.busy for each in over) >= LEAST_BUSY, (limit, over)
    growth = {duty: kb - before[duty] for duty, kb in after.items()}
    assert max(growth.values()) < MOST_GROWTH_KB, growth
    assert min(renewed) >= SECONDS / KEYS_WITHIN_S, renewed
    assert max(beats) < SILENCE_S, beats
    for end, first in zip(pair.ends, logged, strict=True):
        said = end.logged("")[first:]
        assert not [line for line in said for words in GIVEN_UP if words in line]
        assert {Drop(reason) for reason in end.drops("t0")} <= EXPECTED


def keys(pair: Pair) -> list[int]:
    """How many keys each end has had to send with, and has seen in use by its peer."""
    lines = ("send key installed", "receive key in use")
    return [len(end.logged(words)) for end in pair.ends for words in lines]
