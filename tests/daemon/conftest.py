"""Fixtures of the daemon's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.network import InNetwork, run_in_network


@pytest.fixture
def in_network() -> InNetwork:
    """Run a function in a child process that is root of an empty network; its failure is ours."""
    return run_in_network


@pytest.fixture
def tmp(tmp_path: Path) -> Iterator[Path]:
    """The test's own directory by a name that is short enough for sockets."""
    path = Path(f"/tmp/chancel-test-{os.getpid()}")
    path.symlink_to(tmp_path)
    yield path
    path.unlink()
