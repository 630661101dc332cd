"""A lab for each file of tests, and what the daemons said under a test that failed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from chancel.daemon.hot import twins
from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError
from tests.e2e.ends import STARTED, Pair
from tests.e2e.report import MODES

ROOT = Path(__file__).parents[2]

LOG_LINES = 60


@pytest.fixture(scope="package", autouse=True)
def inside_is_importable() -> Iterator[None]:
    """Programs in the hosts import ``tests.e2e.inside`` wherever they were started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the daemon's own users can pass through; its name is short, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="chancel-e2e-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        built = Lab()
    except LabError as error:
        pytest.skip(str(error))
    with built:
        yield built
    STARTED.clear()


@pytest.fixture(params=MODES, scope="module")
def mode(request: pytest.FixtureRequest) -> str:
    """How the daemon carries packets: with compiled functions, or all in Python."""
    if request.param == "accelerated" and twins.module() is None:
        pytest.skip("needs cargo: `make setup` builds chancel_accel where it is found")
    return str(request.param)


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: Path) -> Pair:
    """Two hosts on a user-space wire; nothing runs yet."""
    left, right = lab.host("left"), lab.host("right")
    pair = Pair(left, right, folder)
    lab.connect(left, f"{pair.left.outer}/24", right, f"{pair.right.outer}/24")
    return pair


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for end in STARTED:
            if end.log.exists():
                lines = end.log.read_text().splitlines()[-LOG_LINES:]
                report.sections.append((f"log of {end.host.name}", "\n".join(lines)))
    return report
