"""Fixtures of the daemon's tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chancel.daemon.hot import twins
from chancel.daemon.topology import WIRED_FROM
from tests.daemon.benches import Bench
from tests.daemon.network import InNetwork, run_in_network


@pytest.fixture
def in_network() -> InNetwork:
    """Run a function in a child process that is root of an empty network; its failure is ours."""
    return run_in_network


@pytest.fixture(params=["python", "compiled"], scope="class")
def twin(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test over the hot functions in Python, and over their compiled twins.

    Its scope lets hypothesis use it: one choice for all examples.
    """
    before = twins.used()
    if request.param == "compiled" and twins.module() is None:
        pytest.skip("needs cargo: `make setup` builds chancel_accel where it is found")
    twins.use(twins.NAMES if request.param == "compiled" else ())
    yield request.param
    twins.use(before)


@pytest.fixture
def bench_of() -> Iterator[Callable[[str], Bench]]:
    """Make the bench of a duty."""
    with ExitStack() as benches:

        def make(duty: str) -> Bench:
            bench = Bench(duty)
            benches.callback(bench.close)
            return bench

        yield make


_numbers = itertools.count()


@pytest.fixture
def tmp(tmp_path: Path) -> Iterator[Path]:
    """The test's own directory by a name that is short enough for sockets."""
    path = Path(f"/tmp/chancel-test-{os.getpid()}-{next(_numbers)}")
    path.symlink_to(tmp_path)
    yield path
    path.unlink()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where an end that is registered at cathedrals has its files; its keys outlive the test."""
    yield tmp_path
    for name in ("cs", "cosk", "kek"):
        assert (tmp_path / name).exists()


@pytest.fixture(autouse=True)
def _no_wiring_stays() -> Iterator[None]:
    """A wiring that a test leaves open has some later test fail for want of descriptors."""
    before = _wired()
    yield
    assert _wired() <= before, "descriptors of a wiring were left open"


def _wired() -> set[int]:
    return {fd for each in Path("/proc/self/fd").iterdir() if (fd := int(each.name)) >= WIRED_FROM}
