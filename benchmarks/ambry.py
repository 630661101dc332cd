"""A bundle of all tunnels of a flock, by our tool and by the reference's, one after the other.

The path of the reference's is in ``AMBRY``, or follows from ``SANCTUM``. Both use the same keys, as
whole processes, so start-up counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.result import Figure, LeftOut, Result, Target

ROUNDS = 7
OURS = [sys.executable, "-m", "chancel.cli.main", "ambry"]
FLOCK = "cafeba00"
MAX_RATIO = 1.5
"""To the reference's time, which uses one core."""


def run() -> Iterator[Result]:
    """Wall time; the first, cold round doesn't count."""
    theirs = _reference()
    with tempfile.TemporaryDirectory() as folder:
        _run([*OURS, "generate", FLOCK], folder)
        commands = [OURS] if theirs is None else [OURS, [theirs]]
        rounds = [[_seconds(each, folder) for each in commands] for _ in range(ROUNDS + 1)][1:]
    yield Figure("ambry bundle, 32385 tunnels", "s", [each[0] for each in rounds])
    if theirs is None:
        yield LeftOut("ambry bundle / the reference's", "AMBRY=/path/to/ambry")
        return
    yield Figure("ambry bundle of the reference", "s", [each[1] for each in rounds])
    ratios = [ours / reference for ours, reference in rounds]
    yield Figure("ambry bundle / the reference's", "", ratios, Target("≤", MAX_RATIO))


def _reference() -> str | None:
    path = os.environ.get("AMBRY")
    if path is None and (sanctum := os.environ.get("SANCTUM")):
        path = str(Path(sanctum).parent / "tools/ambry/ambry")
    found = None if path is None else shutil.which(path)
    return None if found is None else str(Path(found).resolve())


def _seconds(command: Sequence[str], folder: str) -> float:
    start = time.perf_counter()
    _run([*command, "bundle", FLOCK, FLOCK, "30", "bundle"], folder)
    return time.perf_counter() - start


def _run(command: Sequence[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - our words
