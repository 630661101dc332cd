"""What holds for every test: no skip where CI forbids it, no deadline on a busy machine, output of
programs buffered as it is for their users.

``CHANCEL_REQUIRE=all`` (set by ``.ci/run``) turns each skip into a failure that repeats its reason,
so a package missing from CI can't quietly take tests away. Tests that need cargo are the exception.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

REQUIRE_ALL = os.environ.get("CHANCEL_REQUIRE") == "all"
MAY_SKIP = "needs cargo"

os.environ.pop("PYTHONUNBUFFERED", None)  # it would hide what a full disk does to a buffer

hypothesis.settings.register_profile("chancel", deadline=None, derandomize=REQUIRE_ALL)
hypothesis.settings.load_profile("chancel")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a failure of a skip that isn't allowed; an expected failure counts as run."""
    if not (REQUIRE_ALL and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(MAY_SKIP):
        report.outcome = "failed"
        report.longrepr = f"skipped although CHANCEL_REQUIRE=all: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report
