"""Fixtures of the daemon's tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon.topology import WIRED_FROM
from tests.daemon.network import InNetwork, run_in_network


@pytest.fixture
def in_network() -> InNetwork:
    """Run a function in a child process that is root of an empty network; its failure is ours."""
    return run_in_network


_numbers = itertools.count()


@pytest.fixture
def tmp(tmp_path: Path) -> Iterator[Path]:
    """The test's own directory by a name that is short enough for sockets."""
    path = Path(f"/tmp/chancel-test-{os.getpid()}-{next(_numbers)}")
    path.symlink_to(tmp_path)
    yield path
    path.unlink()


@pytest.fixture(autouse=True)
def _no_wiring_stays() -> Iterator[None]:
    """A wiring that a test leaves open has some later test fail for want of descriptors."""
    before = _wired()
    yield
    assert _wired() <= before, "descriptors of a wiring were left open"


def _wired() -> set[int]:
    return {fd for each in Path("/proc/self/fd").iterdir() if (fd := int(each.name)) >= WIRED_FROM}
