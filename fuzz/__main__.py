"""Run targets one after the other; exit status 1 when one of them found something.

make fuzz                                    all targets, two minutes each
make fuzz ARGS="offer session --seconds 600"
make fuzz ARGS=twins                         the compiled twins beside those in Python
make fuzz ARGS="--reproduce out/fuzz/offer-0123456789ab.hex"
make fuzz ARGS="campaign --help"             against a whole running group
make fuzz ARGS="cathedral --help"            against a whole running cathedral
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fuzz import corpus, engine_coverage, findings, twinned
from fuzz.targets import NAMES, load

DEFAULT_SECONDS = 120.0
ALL_TWINS = "twins"
_END_LIMIT_S = 120.0
"""For a worker whose time is over: libFuzzer looks at the clock between two inputs."""

_PROGRESS = re.compile(r"^#(\d+)\s(?:.*?cov: (\d+))?")


class Outcome(NamedTuple):
    """What became of one target."""

    name: str
    executions: int
    coverage: int | None
    seconds: float
    status: int
    findings: tuple[findings.Finding, ...]


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if arguments[:1] == ["campaign"]:
        from fuzz.campaign import main as throw  # needs the lab; targets don't

        return throw(arguments[1:])
    if arguments[:1] == ["cathedral"]:
        from fuzz.cathedral_campaign import main as throw_at_cathedral

        return throw_at_cathedral(arguments[1:])
    options = _parse(arguments)
    if options.reproduce:
        return _reproduce(options.reproduce)
    engine = "coverage" if options.engine == "auto" else options.engine
    if engine == "coverage" and not engine_coverage.is_installed():
        engine = "random"
        hint = "" if options.engine == "auto" else " as asked"
        print(
            f"atheris isn't installed: mutations without coverage{hint}"
            " (make fuzz-setup installs it)"
        )
    chosen = list(_present(options.targets or NAMES))
    outcomes = list(_run(chosen, engine, options.seconds, options.seed))
    if options.keep and engine == "coverage":
        for outcome in outcomes:
            if outcome.status == 0:
                _keep(outcome.name)
    found = [finding for outcome in outcomes for finding in outcome.findings]
    for finding in found:
        print(f"found: {finding.path.with_suffix('.txt')}\n  again: {finding.command}")
    failed = [outcome.name for outcome in outcomes if outcome.status and not outcome.findings]
    for name in failed:
        print(f"failed without an input: {name} (see {_log(name)})")
    return 1 if found or failed else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="another one: other inputs")
    parser.add_argument("--engine", choices=("auto", "coverage", "random"), default="auto")
    parser.add_argument("--keep", action="store_true", help="put what was learnt into the corpus")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="try one finding again")
    options = parser.parse_args(arguments)
    options.targets = [each for name in options.targets for each in _named(name)]
    if unknown := [name for name in options.targets if name not in NAMES]:
        parser.error(f"no target {', '.join(unknown)} (expected some of {', '.join(NAMES)})")
    return options


def _named(name: str) -> list[str]:
    """A target, or all of the twins."""
    if name != ALL_TWINS:
        return [name]
    return [each for each in NAMES if each.startswith(twinned.PREFIX)]


def _present(names: Sequence[str]) -> Iterator[str]:
    """The targets that can run here; says which can't."""
    for name in names:
        if twinned.is_missing(name):
            print(f"{name}: left out ({twinned.MISSING})")
        else:
            yield name


def _reproduce(path: Path) -> int:
    try:
        finding = findings.read(path)
    except (OSError, ValueError) as error:
        print(f"{path}: {error} (expected a file that fuzzing wrote)", file=sys.stderr)
        return 2
    if finding.target not in NAMES:
        print(f"{path}: no target {finding.target!r} (expected TARGET-….hex)", file=sys.stderr)
        return 2
    load(finding.target).check(finding.data)
    print(f"{path}: nothing is broken any more")
    return 0


def _run(names: Sequence[str], engine: str, seconds: float, seed: int) -> Iterator[Outcome]:
    console = Console()
    columns = (TextColumn("{task.description:10}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[told]}"), console=console) as progress:
        for name in names:
            task = progress.add_task(name, total=seconds, told="")
            for outcome in _watch(name, engine, seconds, seed):
                progress.update(task, completed=min(seconds, outcome.seconds), told=_words(outcome))
            if not console.is_terminal:
                console.print(f"{name:10} {_words(outcome)}")
            yield outcome


def _words(outcome: Outcome) -> str:
    rate = outcome.executions / max(outcome.seconds, 0.001)
    words = f"{outcome.executions:,} inputs, {rate:,.0f}/s"
    if outcome.coverage is not None:
        words += f", {outcome.coverage} branches"
    return words + (f", {len(outcome.findings)} FOUND" if outcome.findings else "")


def _watch(name: str, engine: str, seconds: float, seed: int) -> Iterator[Outcome]:
    """The target's state, again and again, until it is over."""
    folder = findings.FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = set(findings.FOLDER.glob(f"{name}-*{findings.SUFFIX}"))
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="chancel-fuzz-") as temporary,
        _log(name).open("wb") as log,
        _log(name).open("rb") as reading,
    ):
        worker = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", name, engine, str(seconds), str(seed), folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": temporary},  # libFuzzer ends without tidying up
        )
        try:
            executions, coverage = 0, None
            while True:
                over = worker.poll() is not None
                for line in reading.read().decode(errors="replace").splitlines():
                    if match := _PROGRESS.match(line):
                        executions = max(executions, int(match[1]))
                        coverage = int(match[2]) if match[2] else coverage
                took = time.monotonic() - started
                yield Outcome(name, executions, coverage, took, 0, ())
                if over:
                    break
                if took > seconds + _END_LIMIT_S:
                    worker.kill()
                time.sleep(0.2)
        finally:
            worker.kill()
            worker.wait()
    for left in _left_by_libfuzzer(folder):
        findings.write(name, left.read_bytes(), f"{left.name}: see {_log(name)}\n")
    new = sorted(set(findings.FOLDER.glob(f"{name}-*{findings.SUFFIX}")) - before)
    found = tuple(findings.read(path) for path in new)
    yield Outcome(name, executions, coverage, took, worker.returncode, found)


def _left_by_libfuzzer(folder: Path) -> list[Path]:
    """Inputs that hung or ate all memory: no exception tells of them."""
    return [*folder.glob("timeout-*"), *folder.glob("oom-*")]


def _keep(name: str) -> None:
    """Put the fewest inputs that reach everything into the corpus."""
    folder = findings.FOLDER / name
    merged = folder.with_suffix(".merged")
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="chancel-fuzz-") as temporary,
        _log(name).open("ab") as log,
    ):
        subprocess.run(
            [sys.executable, "-m", "fuzz.worker", name, "merge", "0", "0", folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": temporary},
            check=True,
        )
    kept = corpus.keep(load(name), [path.read_bytes() for path in merged.iterdir()])
    print(f"{name}: {kept} inputs in the corpus")


def _log(name: str) -> Path:
    return findings.FOLDER / f"{name}.log"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
