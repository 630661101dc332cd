"""The engine with coverage: atheris, which is libFuzzer with Python's branches as its guide.

The process belongs to libFuzzer from :func:`run` on: it ends with it, status 0 after its time, else
with an input that broke something.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from fuzz import corpus, findings
from fuzz.targets import Target, load

HANG_LIMIT_S = 20
MEMORY_LIMIT_MB = 2048


def is_installed() -> bool:
    """Whether atheris can be imported."""
    return importlib.util.find_spec("atheris") is not None


def run(name: str, folder: Path, seconds: float, seed: int) -> NoReturn:
    """Try inputs for a time; what widened the coverage is kept in ``folder``."""
    options = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed + 1}"]
    _fuzz(name, options, [folder])


def merge(name: str, folder: Path, into: Path) -> NoReturn:
    """Copy the fewest inputs that reach what all of ``folder`` and the corpus reach."""
    _fuzz(name, ["-merge=1"], [into, folder])


def continue_merge(name: str, arguments: Sequence[str]) -> NoReturn:
    """Be the process that libFuzzer starts, with arguments of its own, to try the inputs."""
    target = _instrumented(name)
    _engine().Setup(["fuzz", *arguments], target.check)
    _engine().Fuzz()
    sys.exit()


def _fuzz(name: str, options: list[str], folders: list[Path]) -> NoReturn:
    engine, target = _engine(), _instrumented(name)
    with tempfile.TemporaryDirectory(prefix="chancel-fuzz-") as known:
        for number, data in enumerate(corpus.load(target)):
            (Path(known) / f"{number:05}").write_bytes(data)
        engine.Setup(
            [
                f"{sys.executable} -m fuzz.worker {name} continue-merge",
                *options,
                f"-max_len={target.most_bytes}",
                f"-timeout={HANG_LIMIT_S}",
                f"-rss_limit_mb={MEMORY_LIMIT_MB}",
                f"-artifact_prefix={folders[0]}/",
                "-print_final_stats=1",
                *map(str, folders),
                known,
            ],
            _telling(target),
        )
        engine.Fuzz()
    sys.exit()


def _engine() -> Any:
    return importlib.import_module("atheris")  # only where it is installed


def _instrumented(name: str) -> Target:
    with _engine().instrument_imports(include=["chancel", "libkyrka"]):
        return load(name)


def _telling(target: Target) -> Any:
    """The target's check; an exception is written down before libFuzzer ends the process."""

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception as error:
            findings.of_error(target.name, data, error)
            raise

    return check
