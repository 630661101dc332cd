"""A duty in Python, with and without turns for lone packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chancel.daemon.run import Run
from tests.daemon.standing import (
    Stand,
    standing,
)

EITHER_WAY = (False, True)


@contextmanager
def python(name: str, make: Callable[[Any], Any], lone: bool = True) -> Iterator[Stand]:
    with standing(name, make, (), lone=lone) as stand:
        yield stand


def packets_in(batches: list[tuple[list[Run], list[bytes]]]) -> list[tuple[int, int, bytes, bytes]]:
    """Each packet by itself, however they were put together."""
    found = []
    for runs, packets in batches:
        each = iter(packets)
        for run in runs:
            mark = run.tunnel, run.next, run.source.ljust(18, b"\0")
            found += [(*mark, next(each)) for _ in range(run.packets)]
    return found
