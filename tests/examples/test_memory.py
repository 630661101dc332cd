"""``examples/memory.py``: the smallest thing that works."""

from __future__ import annotations

from tests.examples.programs import Program


def test_it_says_hello() -> None:
    with Program("memory.py") as program:
        assert program.finish() == (0, "b'hello, bob'\n", "")
