"""Reference builds to meet, as root, which they need: ``SANCTUM=/path/to/sanctum``, and for release
0.9.20 ``SANCTUM_0920=/path/to/sanctum``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chancel.demo import programs
from chancel.demo.programs import Program
from chancel.demo.sacristy import Sacristy
from tests.interop import results as table
from tests.interop.ends import Pair
from tests.interop.results import Results

RESULTS = pytest.StashKey[Results]()
FILE = Path("out/interop.md")
PROGRAMS = ("SANCTUM", "SANCTUM_0920")
"""Variables that name reference builds: of today, and release 0.9.20."""

MakePair = Callable[..., Pair]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = Results()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table and keep it."""
    found = config.stash[RESULTS]
    if found.rows:
        programs = [os.environ[name] for name in PROGRAMS if os.environ.get(name)]
        text = found.markdown(programs)
        table.write(config.rootpath / FILE, text)
        terminalreporter.section(f"against the reference (kept in {FILE})")
        terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    return pytestconfig.stash[RESULTS]


@pytest.fixture(scope="session")
def reference() -> Program:
    """The reference daemon; without it, or without root, the test is skipped."""
    return _program("SANCTUM")


@pytest.fixture(scope="session")
def legacy() -> Program:
    """Release 0.9.20 of it."""
    return _program("SANCTUM_0920")


def _program(variable: str) -> Program:
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"no reference build: make interop {variable}=/path/to/sanctum")
    if not os.access(path, os.X_OK):
        pytest.skip(f"{variable}={path} is no program that can be run")
    if os.geteuid() != 0:
        pytest.skip(f"the reference needs root: sudo make interop {variable}=/path/to/sanctum")
    return programs.reference(path)


@pytest.fixture(scope="session")
def sacristy(tmp_path_factory: pytest.TempPathFactory) -> Sacristy:
    """Keys that any number of parishes may have in common; their bundle is there already."""
    made = Sacristy(tmp_path_factory.mktemp("sacristy"))
    made.bundle()
    return made


@pytest.fixture(scope="module")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePair]:
    """Makes a tunnel that lasts as long as the module; arguments are those of ``Pair``."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Pair:
            folder = tmp_path_factory.mktemp("pair")
            return stack.enter_context(Pair(folder, *arguments, **options))

        yield make
