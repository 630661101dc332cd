"""Who watches the bench: a line that moves on a terminal, a line for each section elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.result import Step


class Watcher(Protocol):
    """Is told what happens."""

    def section(self, name: str, place: int, count: int) -> None:
        """A section begins, the ``place``-th (from 0) of ``count``."""

    def step(self, step: Step) -> None:
        """The section goes on."""


class Lines:
    """Writes when a section begins, with the minutes so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()

    def section(self, name: str, place: int, count: int) -> None:
        """One line."""
        minutes = (time.monotonic() - self._begun) / 60
        self._console.print(f"[{minutes:4.1f} min] measuring {name} ({place + 1} of {count}) ...")

    def step(self, step: Step) -> None:
        """Nobody reads that many lines."""


class Bar:
    """Two bars: sections, and the steps of this one."""

    def __init__(self, progress: Progress) -> None:
        self._all = progress.add_task("", total=1.0)
        self._one = progress.add_task("", total=1.0)
        self._progress = progress

    def section(self, name: str, place: int, count: int) -> None:
        """Start the second bar anew."""
        words = f"{place + 1} of {count} sections: {name}"
        self._progress.update(self._all, completed=place / count, description=words)
        self._progress.update(self._one, completed=0.0, description=name)

    def step(self, step: Step) -> None:
        """Move the second bar."""
        self._progress.update(self._one, completed=step.share, description=step.words)


@contextlib.contextmanager
def watching(console: Console) -> Iterator[Watcher]:
    """What fits the console, which is not that of the results."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)
