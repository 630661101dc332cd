"""Pilgrim and shrine: our sender to the reference's receiver, and the reverse."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from chancel.daemon import health
from chancel.demo.programs import CHANCEL, Program
from tests.interop.ends import Pair
from tests.interop.results import Results

MTU = 1400
PACKETS = 400
SIZES = [10, 700, MTU - 28, 64, MTU - 28]
AGAIN_LIMIT_S = 50.0
"""A shrine that starts again waits for the next announcement: half a minute at most."""


PROFILES = {"reference": "", "legacy": "profile 0.9\n"}
"""What we need to be told to meet the reference of today, and its release 0.9.20."""


IDLE = {"mode pilgrim\n": "run confess as root\n", "mode shrine\n": "run bless as root\n"}
"""0.9.20 starts both in either mode, although one of them has nothing to do."""


@pytest.fixture(
    scope="module",
    params=[(release, pilgrim) for release in PROFILES for pilgrim in ("reference", "chancel")],
    ids=lambda param: f"{param[0]}-{param[1]}-pilgrim",
)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """The pilgrim is on the left."""
    release, pilgrim = request.param
    theirs: Program = request.getfixturevalue(release)
    programs = (theirs, CHANCEL) if pilgrim == "reference" else (CHANCEL, theirs)
    modes = ("mode pilgrim\n", "mode shrine\n")
    directives = []
    for mode, program in zip(modes, programs, strict=True):
        idle = IDLE[mode] if release == "legacy" else ""
        directives.append(mode + (PROFILES[release] if program is CHANCEL else idle))
    mtus = str(MTU), str(MTU)
    with Pair(tmp_path_factory.mktemp("one-way"), *programs, mtus, directives) as pair:
        wait_heard(pair)
        yield pair


def heard(pair: Pair) -> tuple[int, int]:
    """How many packets of a short stream were sent, and how many arrived whole."""
    receiving = pair.right.host.start("tests.e2e.inside:tally", 1, 3.0)
    next(receiving.progress)
    sent = pair.left.host.call(
        "tests.e2e.inside:stream", [pair.right.inner], PACKETS / 1000, 1000.0, SIZES
    )
    tallies = receiving.result()
    seen = sum(each["packets"] - each["damaged"] for each in tallies.values())
    assert all(each["reordered"] == 0 for each in tallies.values())
    return sent, seen


def wait_heard(pair: Pair) -> float:
    """Wait until everything arrives; how many seconds that took."""
    started_at = time.monotonic()
    while time.monotonic() < started_at + AGAIN_LIMIT_S:
        interfaces = pair.left.host.call("socket:if_nameindex")
        if pair.left.host.name not in {name for _, name in interfaces}:
            continue
        sent, seen = heard(pair)
        if sent == seen:
            return time.monotonic() - started_at
    raise AssertionError(f"not all is heard within {AGAIN_LIMIT_S:g} s\n{pair.logs()}")


def name(pair: Pair) -> str:
    names = {CHANCEL.command: "chancel", (os.environ.get("SANCTUM_0920"),): "0.9.20"}
    left, right = (names.get(end.program.command, "reference") for end in pair.ends)
    return f"{left} pilgrim, {right} shrine"


def test_all_arrives(pair: Pair, results: Results) -> None:
    sent, seen = heard(pair)
    results.add(f"{name(pair)}: UDP of mixed sizes", f"{seen}/{sent}", "all")
    assert seen == sent


def test_nothing_comes_back(pair: Pair) -> None:
    assert pair.left.ping(pair.right, 2, 0.01)["received"] == 0
    assert pair.right.ping(pair.left, 2, 0.01)["received"] == 0


def test_our_status_says_that_it_works(pair: Pair) -> None:
    assert health.state(pair.ours.status()) == "up"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("who", ["pilgrim", "shrine"])
def test_either_may_start_again(pair: Pair, results: Results, who: str) -> None:
    end = pair.left if who == "pilgrim" else pair.right
    end.stop()
    end.start()
    seconds = wait_heard(pair)
    results.add(f"{name(pair)}: {who} starts again", f"heard after {seconds:.1f} s", "≤ 50 s")
