"""How long a person waits for ``chancel --help``: it must not load what it doesn't use."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.result import Figure, Result, Target

ROUNDS = 15
COMMAND = [sys.executable, "-m", "chancel.cli.main", "--help"]


def run() -> Iterator[Result]:
    """Wall time of the whole process, interpreter included; the first, cold round doesn't count."""
    samples = [_seconds() for _ in range(ROUNDS + 1)][1:]
    yield Figure("chancel --help", "s", samples, Target("≤", 0.3))


def _seconds() -> float:
    start = time.perf_counter()
    subprocess.run(COMMAND, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own words
    return time.perf_counter() - start
