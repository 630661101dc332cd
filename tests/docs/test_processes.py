"""The page about processes says what the code says."""

from __future__ import annotations

from tests.docs.processes import PAGE, TABLES, blocks, render


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text()
    assert render(page) == page, "out of date: python -m tests.docs.processes"


def test_no_table_is_left_out() -> None:
    assert sorted(blocks(PAGE.read_text())) == sorted(TABLES)
