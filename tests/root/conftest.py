"""As for the tests in the lab, but on the machine itself."""

from __future__ import annotations

from tests.e2e.conftest import folder, inside_is_importable, pytest_runtest_makereport

__all__ = ["folder", "inside_is_importable", "pytest_runtest_makereport"]
