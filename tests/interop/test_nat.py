"""Behind pairs of NATs ours is never slower than the reference, each playing all roles.

A slice of ``make nat-lab``, of which ``docs/nat-lab.md`` has all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import pytest

from chancel.demo.nat_lab import Became, Case, cases, perform
from chancel.demo.nat_lab_compare import Table
from chancel.demo.programs import CHANCEL, Program
from chancel.demo.sacristy import Sacristy
from tests.interop.parishes import programs, side_by_side
from tests.interop.results import Results

PLACES = ("restricted", "port-restricted", "symmetric", "carrier-grade", "one home", "one carrier")

pytestmark = pytest.mark.timeout(900)


class Asked(NamedTuple):
    """Two places and who plays."""

    left: str
    right: str
    who: str

    def __str__(self) -> str:
        return f"{self.left}, {self.right}, all {self.who}"


ASKED = [
    Asked(each.left, each.right, who)
    for each in cases(PLACES, [CHANCEL])
    for who in ("chancel", "reference")
]

Futures = dict[Asked, Future[Became]]


@pytest.fixture(scope="module")
def became(
    request: pytest.FixtureRequest, reference: Program, sacristy: Sacristy
) -> Iterator[Futures]:
    """All that were asked for, at work."""

    def play(asked: Asked, folder: Path) -> Became:
        (program,) = programs(reference, asked.who)
        return perform(Case(asked.left, asked.right, program), folder, sacristy)

    with side_by_side(request, play) as futures:
        yield futures


@pytest.mark.parametrize("case", ASKED, ids=str)
def test_a_pair(case: Asked, became: Futures, results: Results) -> None:
    met = became[case].result()
    direct = "relayed" if met.direct_s is None else f"direct {met.direct_s:.1f} s"
    results.add(str(case), f"up {met.up_s:.1f} s, {direct}")
    assert met.problems == ()


def test_never_slower_and_never_relayed_where_the_reference_is_direct(became: Futures) -> None:
    assert Table(future.result() for future in became.values()).slower() == []
