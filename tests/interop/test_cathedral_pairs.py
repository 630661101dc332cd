"""Two federated cathedrals, a device at each: who plays whom, and one of the cathedrals killed.

With NATs that give each destination a port of its own the devices can't become direct, so what they
say has to pass by the cathedrals, and a dead one is missed.
"""

from __future__ import annotations

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

EARLY_S = 30.0
"""The reference waits for 45 s of silence. Ours knows after a few infos without an answer, and then
the relay has to hear of its keys."""

AT_ONCE_S = 10.0
"""Among ours, between the first echo and a direct path: far less than a NAT is watched."""

C, R = "chancel", "reference"
CONE, SYMMETRIC = NAT_TYPES["port-restricted"], NAT_TYPES["symmetric"]

pytestmark = pytest.mark.timeout(600)


class Case(NamedTuple):
    """Who plays whom, behind which masks; ``killed``: the cathedral of both devices dies."""

    east: str
    west: str
    left: str
    right: str
    masks: str = "plain"
    killed: bool = False

    @property
    def plan(self) -> Plan:
        nat = SYMMETRIC if self.killed else CONE
        return Plan(
            cathedrals=2,
            nats=(nat, nat),
            near=(0, 0) if self.killed else (0, 1),
            remembrance=self.killed,
            shroud=self.masks == "shroud",
            tfc=self.masks == "tfc",
        )

    @property
    def at_once(self) -> bool:
        """Whether it is direct before it was seen to be relayed: all is ours, and nobody dies."""
        return {self.east, self.west, self.left, self.right} == {C} and not self.killed

    @property
    def short(self) -> str:
        """For ``-k``: first letters of east, west, left, right."""
        return "".join(each[0] for each in self[:4]) + f"-{self.masks}"

    def __str__(self) -> str:
        return (
            f"{'failover' if self.killed else 'federation'} {self.east} to {self.west},"
            f" left {self.left}, right {self.right}, {self.masks}"
        )


FEDERATIONS = [
    Case(R, R, R, R),
    Case(C, R, R, R),
    Case(C, R, C, C, "shroud"),
    Case(C, R, R, C, "tfc"),
    Case(R, C, C, C),
    Case(R, C, R, R, "shroud"),
    Case(R, C, C, R, "tfc"),
    Case(C, C, C, C),
    Case(C, C, R, R, "shroud"),
]

FAILOVERS = [
    Case(R, R, R, R, killed=True),
    Case(C, R, R, R, killed=True),
    Case(R, C, R, R, killed=True),
    Case(C, R, C, R, killed=True),
    Case(R, C, R, C, killed=True),
    Case(R, R, C, C, killed=True),
    Case(C, C, C, C, "shroud", killed=True),
]


class Seen(NamedTuple):
    """Seconds: until the tunnel was up, then direct, or answered again after the kill."""

    up_s: float
    then_s: float


@pytest.fixture(scope="module")
def seen(
    request: pytest.FixtureRequest, reference: Program, sacristy: Sacristy
) -> Iterator[dict[Case, Future[Seen]]]:
    """All cases that were asked for, at work."""

    def perform(case: Case, folder: Path) -> Seen:
        roles = programs(reference, case.east, case.west, case.left, case.right)
        with Play(folder, case.plan, roles, sacristy) as playing:
            up_s = playing.come_up()
            if not case.at_once:
                playing.wait_relayed()
            return Seen(up_s, playing.fail_over() if case.killed else become_direct(playing))

    with side_by_side(request, perform) as futures:
        yield futures


def become_direct(playing: Play) -> float:
    direct_s = playing.wait_direct()
    playing.ping_both_ways()
    return direct_s


@pytest.mark.parametrize("case", FEDERATIONS, ids=lambda case: case.short)
def test_a_device_at_each_of_two_cathedrals(
    case: Case, seen: dict[Case, Future[Seen]], results: Results
) -> None:
    became = seen[case].result()
    bound = f"direct {AT_ONCE_S:g} s later" if case.at_once else ""
    results.add(str(case), f"up {became.up_s:.1f} s, direct {became.then_s:.1f} s", bound)
    assert not case.at_once or became.then_s < became.up_s + AT_ONCE_S


@pytest.mark.parametrize("case", FAILOVERS, ids=lambda case: case.short)
def test_traffic_goes_on_by_another_cathedral(
    case: Case, seen: dict[Case, Future[Seen]], results: Results
) -> None:
    became = seen[case].result()
    early = R not in (case.left, case.right)
    bound = f"< {EARLY_S:g} s" if early else ""
    results.add(str(case), f"answers again after {became.then_s:.1f} s", bound)
    assert not early or became.then_s < EARLY_S
