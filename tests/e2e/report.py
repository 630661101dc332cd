"""What the long tests (``make soak``) have done, line by line, and all of it as a table."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.e2e import overload
from tests.e2e.ends import Pair

MODES = {"accelerated": (), "pure": ("accelerator off",)}
"""Of the daemon, and the lines in its files that make it so."""

TABLE_WIDTH = 120
"""Where it doesn't go to a terminal."""


class Done(NamedTuple):
    """One test: what was carried, in how many seconds, how fast; how many times both ends renewed
    their keys; and the resident memory of all processes of both ends, in MB."""

    what: str
    mode: str
    carried: str
    seconds: float
    rate: str
    renewed: int
    memory_before: float
    memory_after: float


ALL: list[Done] = []
"""In the order in which they ended."""


def tell(words: str) -> None:
    """Say how far a test is."""
    Console(stderr=True).print(words, soft_wrap=True, highlight=False)


def memory_mb(pair: Pair) -> float:
    """Resident memory of all processes of both ends; pages that they share count for each."""
    return sum(overload.memory_kb(pair).values()) / 1024


def table() -> Table:
    """All that was done."""
    made = Table("test", "mode", "carried", "seconds", "rate", "keys", "memory before", "after")
    for each in ALL:
        memory = f"{each.memory_before:,.0f} MB", f"{each.memory_after:,.0f} MB"
        numbers = f"{each.seconds:,.0f}", each.rate, f"{each.renewed:,}", *memory
        made.add_row(each.what, each.mode, each.carried, *numbers)
    return made
