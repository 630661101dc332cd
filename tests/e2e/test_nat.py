"""Real daemons behind four pairs of NATs, side by side: a slice of ``make nat-lab``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from chancel.demo.nat_lab import Became, Case, perform
from chancel.demo.nat_lab_page import Conditions, page
from chancel.demo.programs import CHANCEL
from chancel.demo.sacristy import Sacristy

DIRECT = [
    ("port-restricted", "port-restricted"),
    ("symmetric", "restricted"),
    ("one home", "one home"),
]
RELAYED = ("symmetric", "symmetric")
NO_PATH = ("port-restricted", "no-udp")
PAIRS = [*DIRECT, RELAYED, NO_PATH]

AT_ONCE = 2

pytestmark = pytest.mark.timeout(300)

Futures = dict[tuple[str, str], Future[Became]]


@pytest.fixture(scope="module")
def became(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Futures]:
    """All pairs, at work."""
    sacristy = Sacristy(tmp_path_factory.mktemp("sacristy"))
    sacristy.bundle()
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def begin(left: str, right: str) -> Future[Became]:
            folder: Path = tmp_path_factory.mktemp("parish")
            return pool.submit(perform, Case(left, right, CHANCEL), folder, sacristy)

        yield {pair: begin(*pair) for pair in PAIRS}


@pytest.mark.parametrize("pair", DIRECT, ids=" and ".join)
def test_what_can_be_direct_is(pair: tuple[str, str], became: Futures) -> None:
    met = became[pair].result()
    assert met.problems == ()
    assert met.direct_s is not None


def test_two_symmetric_ones_are_relayed_and_work(became: Futures) -> None:
    met = became[RELAYED].result()
    assert met.problems == ()
    assert met.up_s is not None
    assert met.direct_s is None


def test_without_udp_there_is_no_path_and_why_says_so(became: Futures) -> None:
    met = became[NO_PATH].result()
    assert met.problems == ()
    assert met.up_s is None


def test_the_page(became: Futures) -> None:
    results = [each.result() for each in became.values()]
    names = ["symmetric", "restricted", "port-restricted", "no-udp", "one home"]
    text = page(results, names, Conditions(AT_ONCE, 1, 0.0))
    assert "| port-restricted, no-udp | no path |" in text
    assert "| symmetric, symmetric | " in text
    assert "Share relayed, of the pairs that come up: chancel 25%." in text
