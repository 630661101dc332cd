"""Runs the pools of a simulated network in another Python, such as PyPy, which needs half the time.

Each pool has a process of its own, with ``chancel`` from where this one has it, and all else from
that Python's own packages. On its standard input it is told what to run; on its standard output it
says how far it is, and in the end what came of it.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import chancel
from chancel.errors import LocalProtocolError
from chancel.sim.network_report import NetworkReport, PoolReport
from chancel.sim.network_run import Progress, run_pool
from chancel.sim.network_scenario import NetworkScenario

_BEGIN: Final = (
    # Nothing of the working directory, and of our own place nothing but this package.
    "import sys; sys.path[0] = sys.argv[1]; import chancel; del sys.path[0]\n"
    "from chancel.sim import network_elsewhere, network_run\n"
)
_ROOT: Final = str(Path(chancel.__file__).parents[1])

_NURSERY: Final = ("PYPY_GC_NURSERY", "128M")
"""PyPy's room for new objects, which is small otherwise: saves a tenth of the time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another Python: its program, and what it says that it is."""

    program: Path
    name: str

    def run(
        self, scenario: NetworkScenario, jobs: int = 1, progress: Progress | None = None
    ) -> NetworkReport:
        """As :func:`chancel.sim.network_run.run`; progress is told here, by any of some threads.

        Raises ``LocalProtocolError`` if a pool's process fails, after that has said why.
        """
        executor = ThreadPoolExecutor(min(jobs, scenario.pools))
        try:
            pools = range(scenario.pools)
            reports = executor.map(lambda pool: self._run_pool(scenario, pool, progress), pools)
            return NetworkReport(scenario, tuple(reports))
        finally:
            executor.shutdown(cancel_futures=True)

    def _run_pool(
        self, scenario: NetworkScenario, pool: int, progress: Progress | None
    ) -> PoolReport:
        with subprocess.Popen(  # noqa: S603 - the user names the program
            _command(self.program, "network_elsewhere.serve()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        ) as process:
            assert process.stdin is not None, "see above"
            assert process.stdout is not None, "see above"
            try:
                with process.stdin as asked:
                    pickle.dump((scenario, pool), asked)
                while not isinstance(said := pickle.load(process.stdout), PoolReport):  # noqa: S301
                    if progress is not None:
                        progress(pool, said)
            except (EOFError, BrokenPipeError) as error:
                raise LocalProtocolError(
                    f"{self.program} failed in pool {pool + 1}, see above; {scenario.command()}"
                ) from error
        return said


def find(program: Path) -> Elsewhere:
    """Ask a program whether it is such a Python; raises ``LocalProtocolError`` if it isn't."""
    command = _command(program, "print(network_run.interpreter())")
    try:
        asked = subprocess.run(  # noqa: S603 - the user names the program
            command, capture_output=True, text=True, check=False, env=_environment()
        )
    except OSError as error:
        raise LocalProtocolError(f"{program} can't be started: {error.strerror}") from error
    name = asked.stdout.strip()
    if asked.returncode or not name:
        problem = (asked.stderr.strip() or "it says nothing").splitlines()[-1]
        raise LocalProtocolError(
            f"{program} can't run simulations: {problem} (Python 3.11 or PyPy 3.11 can, with its"
            " own packages of cryptography and numpy)"
        )
    return Elsewhere(program, name)


def serve() -> None:
    """Be the process of one pool."""
    scenario, pool = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started us
    out, sys.stdout = sys.stdout.buffer, sys.stderr

    def tell(said: float | PoolReport) -> None:
        pickle.dump(said, out)
        out.flush()

    tell(run_pool(scenario, pool, lambda _, done_s: tell(done_s)))


def _command(program: Path, what: str) -> list[str]:
    return [str(program), "-c", _BEGIN + what, _ROOT]


def _environment() -> dict[str, str]:
    return dict((_NURSERY,)) | os.environ
