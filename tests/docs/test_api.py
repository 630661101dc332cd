"""The API reference says what the source says."""

from __future__ import annotations

from tests.docs.api import PAGE, render


def test_the_reference_is_that_of_the_source() -> None:
    assert PAGE.read_text() == render(), "out of date: python -m tests.docs.api"
