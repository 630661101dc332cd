"""Fixtures of the long tests: the lab and its ends, as in ``tests/e2e``."""

from __future__ import annotations

from tests.e2e.conftest import folder as folder  # noqa: PLC0414
from tests.e2e.conftest import inside_is_importable as inside_is_importable  # noqa: PLC0414
from tests.e2e.conftest import lab as lab  # noqa: PLC0414
from tests.e2e.conftest import pytest_runtest_makereport as pytest_runtest_makereport  # noqa: PLC0414
