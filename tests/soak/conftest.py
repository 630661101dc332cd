"""Fixtures of the long tests: the lab and its ends, as in ``tests/e2e``; and a table at the end."""

from __future__ import annotations

import pytest
from rich.console import Console

from tests.e2e import report
from tests.e2e.conftest import folder as folder  # noqa: PLC0414
from tests.e2e.conftest import inside_is_importable as inside_is_importable  # noqa: PLC0414
from tests.e2e.conftest import lab as lab  # noqa: PLC0414
from tests.e2e.conftest import mode as mode  # noqa: PLC0414
from tests.e2e.conftest import pytest_runtest_makereport as pytest_runtest_makereport  # noqa: PLC0414


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Everything that was done, also by those beside us that take long."""
    if report.ALL:
        console = Console(width=report.TABLE_WIDTH)
        with console.capture() as captured:
            console.print(report.table())
        terminalreporter.write(f"\n{captured.get()}")
