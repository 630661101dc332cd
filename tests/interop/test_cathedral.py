"""Two devices and a cathedral, each played by the reference or by Chancel, in every combination.

In one network, and each device behind a NAT of its own; plain, with a shroud, with TFC. A tunnel
comes up relayed, with its secret from an ambry, and becomes direct: among ours at once, and with
any part of the reference's after its cathedral has watched both NATs. Much of that time is spent on
waiting, so several cases live side by side; only a few at a time come up, which is what costs.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import pytest

from chancel.demo.parish import Plan
from chancel.demo.play import Play
from chancel.demo.programs import Program
from chancel.demo.sacristy import Sacristy
from chancel.sim.nat import NAT_TYPES
from tests.interop.parishes import programs, side_by_side
from tests.interop.results import Results

SETTLED_S = 2.0
"""Pings of this time after the path became direct belong to the change as well."""

MARGIN_S = 2.0
"""Of a median: both sides wait for the next of infos that are 5 s apart."""

AT_ONCE_S = 10.0
"""Among ours, between the first echo and a direct path: far less than a NAT is watched."""

WHO = ("chancel", "reference")
PLACES = ("one network", "two NATs")
MASKS = ("plain", "shroud", "tfc")

pytestmark = pytest.mark.timeout(600)


class Case(NamedTuple):
    """Who plays whom, where, behind which masks."""

    cathedral: str
    left: str
    right: str
    place: str
    masks: str

    @property
    def among(self) -> str:
        """The one that plays all roles, or nothing."""
        return self.left if self.cathedral == self.left == self.right else ""

    @property
    def plan(self) -> Plan:
        nat = NAT_TYPES["port-restricted"] if self.place == "two NATs" else None
        return Plan(nats=(nat, nat), shroud=self.masks == "shroud", tfc=self.masks == "tfc")

    @property
    def short(self) -> str:
        """For ``-k``: first letters of cathedral, left, right."""
        who = "".join(each[0] for each in self[:3])
        return f"{who}-{self.place.replace(' ', '-')}-{self.masks}"

    def __str__(self) -> str:
        return (
            f"cathedral {self.cathedral}, left {self.left}, right {self.right},"
            f" {self.place}, {self.masks}"
        )


CASES = [Case(*each) for each in itertools.product(WHO, WHO, WHO, PLACES, MASKS)]


class Seen(NamedTuple):
    """What became of a case. ``lost`` are the pings from the first echo until it was direct."""

    up_s: float
    direct_s: float
    lost: int


Futures = dict[Case, Future[Seen]]


def play(case: Case, folder: Path, reference: Program, sacristy: Sacristy) -> Seen:
    """Perform a case. Raises PlayError with all logs."""
    roles = programs(reference, case.cathedral, case.left, case.right)
    with Play(folder, case.plan, roles, sacristy) as playing:
        up_s = playing.come_up()
        if case.among != "chancel":
            playing.wait_relayed()
        direct_s = playing.wait_direct()
        playing.ping_both_ways()
        since = playing.started_at
        lost = playing.seen.lost(since + up_s, since + direct_s + SETTLED_S)
    return Seen(up_s, direct_s, lost)


@pytest.fixture(scope="module")
def seen(
    request: pytest.FixtureRequest, reference: Program, sacristy: Sacristy
) -> Iterator[Futures]:
    """All cases that were asked for, at work."""

    def perform(case: Case, folder: Path) -> Seen:
        return play(case, folder, reference, sacristy)

    with side_by_side(request, perform) as futures:
        yield futures


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.short)
def test_relayed_then_direct(case: Case, seen: Futures, results: Results) -> None:
    became = seen[case].result()
    bound = "none lost" if case.among == "chancel" else ""
    told = f"up {became.up_s:.1f} s, direct {became.direct_s:.1f} s, lost {became.lost} pings"
    results.add(str(case), told, bound)
    if case.among == "chancel":
        assert became.lost == 0
        assert became.direct_s < became.up_s + AT_ONCE_S


def test_never_slower_than_among_references(seen: Futures, results: Results) -> None:
    medians = {}
    for who in WHO:
        became = [future.result() for case, future in seen.items() if case.among == who]
        if not became:
            pytest.skip("needs the cases in which one plays all roles")
        medians[who] = Seen(*(statistics.median(each) for each in zip(*became, strict=True)))
    ours, theirs = (medians[who] for who in WHO)
    results.add("median up, all roles chancel", f"{ours.up_s:.1f} s", f"≤ {theirs.up_s:.1f} s")
    results.add(
        "median direct, all roles chancel", f"{ours.direct_s:.1f} s", f"≤ {theirs.direct_s:.1f} s"
    )
    assert ours.up_s <= theirs.up_s + MARGIN_S
    assert ours.direct_s <= theirs.direct_s + MARGIN_S
