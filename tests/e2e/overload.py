"""More than a tunnel can take: how much of it arrives, on a machine that others use, too.

Both groups of the tunnel share one processor, and who offers the packets has the others: so it is
the tunnel that is overloaded, not the machine. Offloads are off, so that each packet costs the
tunnel a call or two, and the one who offers them less. What others do to the processor can't be
helped: so what arrives is also told for a second in which the tunnel had the processor, and how
much of the time it ran, or would have.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.ends import Pair

LINES = ("offload off",)
RIGHT = "10.77.0.2"
PACKET_BYTES = 300
TRAIN_PACKETS = 16
FIRST_RATE_PPS = 10_000.0
MOST_RATE_PPS = 2_000_000.0
STEP_S = 0.5
OVERLOAD = 1.5
"""Times what arrives: on a busy machine nobody may be able to offer all of the twice."""

QUIET_S = 0.4
"""Counters are published four times a second; when they stand still for longer, all is there."""


class Measured(NamedTuple):
    """Packets a second that were offered, and that arrived.

    ``for_work``: that arrived for a second of the processor. ``busy``: for which part of the time
    processes ran or waited for it; more than 1 where several did.
    """

    offered: float
    delivered: float
    for_work: float
    busy: float


@contextmanager
def on_one_processor() -> Iterator[int]:
    """Whatever is started here runs on one processor."""
    before = os.sched_getaffinity(0)
    chosen = min(before)
    os.sched_setaffinity(0, {chosen})
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)


class Overload:
    """A tunnel on one processor, and what is done to it."""

    def __init__(self, pair: Pair, cpu: int) -> None:
        self._pair = pair
        self._others = sorted(os.sched_getaffinity(0) - {cpu}) or [cpu]
        self._sink = pair.right.host.start("tests.e2e.inside_load:hold", RIGHT)
        next(self._sink.progress)
        self._came = self._arrived()

    def close(self) -> None:
        """End the program at the right."""
        self._sink.program.kill()
        self._sink.program.wait()

    def limit(self) -> float:
        """The most that ever arrived in a second, when more and more is offered: until it was not
        half of what was offered."""
        rate, most = FIRST_RATE_PPS, 0.0
        while rate <= MOST_RATE_PPS:
            seen = self.measure(rate, STEP_S)
            most = max(most, seen.delivered)
            if seen.delivered < seen.offered / 2:
                return most
            rate *= 2
        raise AssertionError("nobody here can offer more than the tunnel takes")

    def overload(self, rate_pps: float, seconds: float) -> Measured:
        """Offer more than arrives: this rate, or twice of it, and so on, where others leave the
        tunnel more of its processor than they did when its limit was found."""
        while rate_pps <= MOST_RATE_PPS:
            seen = self.measure(rate_pps, seconds)
            if seen.offered >= OVERLOAD * seen.delivered:
                return seen
            rate_pps *= 2
        raise AssertionError("nobody here can offer more than the tunnel takes")

    def measure(self, rate_pps: float, seconds: float) -> Measured:
        """Offer a rate for some time."""
        before, (ran, wanted) = self._came, _ran(self._pair)
        offered = self._pair.left.host.call(
            "tests.e2e.inside_load:offer",
            *(RIGHT, PACKET_BYTES, TRAIN_PACKETS, rate_pps, seconds, self._others),
        )
        self._came = self._arrived()
        seconds, came = offered["seconds"], self._came - before
        ran, wanted = (
            now - then for now, then in zip(_ran(self._pair), (ran, wanted), strict=True)
        )
        return Measured(offered["packets"] / seconds, came / seconds, came / ran, wanted / seconds)

    def _arrived(self) -> int:
        """How many packets the right end has written to its device, once it has done so."""
        seen, since = -1, time.monotonic()
        while time.monotonic() < since + QUIET_S:
            now = int(self._pair.right.tunnel("t0")["traffic"]["rx"]["packets"])
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(QUIET_S / 8)
        return seen


def _ran(pair: Pair) -> tuple[float, float]:
    """For how many seconds all processes but control (which we ask) have run so far, and for how
    many they have run or waited for the processor."""
    ran = waited = 0
    for end in pair.ends:
        for duty, pid in end.processes().items():
            if duty != "control":
                told = Path(f"/proc/{pid}/schedstat").read_text().split()
                ran, waited = ran + int(told[0]), waited + int(told[1])
    return ran / 1e9, (ran + waited) / 1e9


def memory_kb(pair: Pair) -> dict[str, int]:
    """Resident memory of each process of both groups."""
    found = {}
    for end in pair.ends:
        for duty, pid in end.processes().items():
            status = Path(f"/proc/{pid}/status").read_text()
            (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
            found[f"{end.host.name} {duty}"] = int(line.split()[1])
    return found


def typical(windows: list[Measured]) -> float:
    """What arrived in the middle one."""
    return statistics.median(each.delivered for each in windows)


def for_work(windows: list[Measured]) -> float:
    """What arrived for a second of the processor in the middle one."""
    return statistics.median(each.for_work for each in windows)
