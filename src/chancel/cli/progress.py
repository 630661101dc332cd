"""A progress bar on a terminal, for what takes longer than a second."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_S = 1.0
"""Nobody needs a bar for less."""


class Bar:
    """One bar at a time, on standard error, gone when its work is done or the block ends.

    It is drawn only when told of progress: a thread of its own would be in the way of forks.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how much of ``what`` is done."""
        if not self._shown or time.monotonic() - self._started < PATIENCE_S:
            return
        if self._progress is None or what != self._what:
            self._open(what)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, refresh=True)

    def _open(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._close()
        self._progress = Progress(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._progress.start()
        self._task = self._progress.add_task(what)
        self._what = what

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
