"""A reference build to meet: ``SANCTUM=/path/to/sanctum``, as root, which the reference needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop import results as table
from tests.interop.ends import Pair, Program
from tests.interop.results import Results

RESULTS = pytest.StashKey[Results]()
FILE = Path("out/interop.md")

MakePair = Callable[..., Pair]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = Results()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table and keep it."""
    found = config.stash[RESULTS]
    if found.rows:
        text = found.markdown(os.environ["SANCTUM"])
        table.write(config.rootpath / FILE, text)
        terminalreporter.section(f"against the reference (kept in {FILE})")
        terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    return pytestconfig.stash[RESULTS]


@pytest.fixture(scope="session", autouse=True)
def reference() -> Program:
    """The reference daemon; without it, or without root, the test is skipped."""
    path = os.environ.get("SANCTUM")
    if not path:
        pytest.skip("no reference build: make interop SANCTUM=/path/to/sanctum")
    if not os.access(path, os.X_OK):
        pytest.skip(f"SANCTUM={path} is no program that can be run")
    if os.geteuid() != 0:
        pytest.skip("the reference needs root: sudo make interop SANCTUM=/path/to/sanctum")
    return Program("reference", (path,))


@pytest.fixture(scope="module")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePair]:
    """Makes a tunnel that lasts as long as the module; arguments are those of ``Pair``."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Pair:
            folder = tmp_path_factory.mktemp("pair")
            return stack.enter_context(Pair(folder, *arguments, **options))

        yield make
