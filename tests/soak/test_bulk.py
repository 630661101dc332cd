"""Much data by TCP through a tunnel whose keys are renewed all the time: it arrives, bit by bit.

A slice in the test suite; gigabytes with ``make soak``. Sizes are in megabytes (10^6 bytes):
``CHANCEL_SOAK_LOSSY_MB`` over a wire that loses a hundredth of the packets, ``CHANCEL_SOAK_MB``
over one that loses none. Each with the accelerator, and without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.lab.lab import Lab, Task
from chancel.sim.models import LinkModel
from tests.e2e import renewing, report
from tests.e2e.ends import Pair

LOSSY_MB = int(os.environ.get("CHANCEL_SOAK_LOSSY_MB", "25"))
WHOLE_MB = int(os.environ.get("CHANCEL_SOAK_MB", "50"))
LOSS = 0.01
REKEY_S = 1.0
LEAST_S = 4.0
"""Of a transfer: a slice may take less than a second, and no key grows old in that."""

RENEWED_WITHIN_S = 10.0
"""Fragments of offers are lost, too."""

STREAMS = 4
SLOWEST_MB_S = 0.25
"""Bounds a hang, and nothing else."""

TOLD_S = 5.0
MEGABYTE = 1_000_000
RIGHT = "10.77.0.2"


def limit_s(megabytes: int) -> float:
    return 120 + megabytes / SLOWEST_MB_S


@pytest.mark.timeout(limit_s(LOSSY_MB))
def test_over_a_wire_that_loses_a_hundredth(lab: Lab, folder: Path, mode: str) -> None:
    left, right = lab.host(f"lossy-{mode}-left"), lab.host(f"lossy-{mode}-right")
    pair = Pair(left, right, folder)
    addresses = f"{pair.left.outer}/24", f"{pair.right.outer}/24"
    before = lab.counts()
    lab.connect(left, addresses[0], right, addresses[1], LinkModel(loss=LOSS))
    transfer(pair, mode, "a hundredth is lost", LOSSY_MB, lambda: lab.counts().get("lost", 0))
    after = lab.counts()
    lost, carried = (after[each] - before.get(each, 0) for each in ("lost", "carried"))
    assert 0.5 * LOSS < lost / carried < 2 * LOSS


@pytest.mark.timeout(limit_s(WHOLE_MB))
def test_over_a_wire_that_loses_nothing(lab: Lab, folder: Path, mode: str) -> None:
    left, right = lab.host(f"whole-{mode}-left"), lab.host(f"whole-{mode}-right")
    pair = Pair(left, right, folder)
    lab.veth(left, f"{pair.left.outer}/24", right, f"{pair.right.outer}/24")
    transfer(pair, mode, "nothing is lost", WHOLE_MB, lambda: 0)


def transfer(pair: Pair, mode: str, what: str, megabytes: int, lost: Callable[[], int]) -> None:
    """Send so much from left to right; both have the same sums, and have renewed their keys."""
    pair.configure(0, "1422", *report.MODES[mode])
    for end in pair.ends:
        end.command = renewing.command(REKEY_S)
    pair.start()
    installed, memory = keys(pair), report.memory_mb(pair)
    started = time.monotonic()
    sizes = [megabytes * MEGABYTE // STREAMS] * STREAMS
    receiving = pair.right.host.start("tests.soak.streams:receive", RIGHT, STREAMS)
    next(receiving.progress)
    sending = pair.left.host.start("tests.soak.streams:send", RIGHT, sizes, seed(), LEAST_S)
    watch(receiving, pair, f"TCP, {what}, {mode}", megabytes, lost)
    # With losses a connection may be accepted later than one that was made after it.
    assert sorted(receiving.result()) == sorted(sending.result())
    seconds = time.monotonic() - started
    renewed = [now - before for now, before in zip(keys(pair), installed, strict=True)]
    report.ALL.append(
        report.Done(
            *(f"TCP, {what}; sums equal", mode, f"{megabytes:,} MB", seconds),
            *(f"{megabytes / seconds:,.0f} MB/s", min(renewed), memory, report.memory_mb(pair)),
        )
    )
    assert min(renewed) >= max(1, seconds // RENEWED_WITHIN_S), (renewed, seconds)
    assert pair.stop() == [0, 0]


def seed() -> int:
    """Another one each time: gigabytes of chance are worth trying again."""
    return time.time_ns()


def watch(receiving: Task, pair: Pair, what: str, megabytes: int, lost: Callable[[], int]) -> None:
    """Tell how far it is, now and then."""
    told_at, told = time.monotonic(), 0
    for came in receiving.progress:
        now = time.monotonic()
        if now < told_at + TOLD_S:
            continue
        rate = (came - told) / (now - told_at) / MEGABYTE
        report.tell(
            f"{what}: {came / MEGABYTE:,.0f} of {megabytes:,} MB, {rate:,.0f} MB/s,"
            f" {keys(pair)[0]} keys, {lost():,} datagrams lost"
        )
        told_at, told = now, came


def keys(pair: Pair) -> list[int]:
    """How many keys each end has seen in use by its peer."""
    return [len(end.logged("receive key in use")) for end in pair.ends]
