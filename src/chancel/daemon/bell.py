"""A bell: wakes one process; several others may ring it.

An eventfd. It says only "look at the board", so rings that come together are one wake-up.
"""

from __future__ import annotations

import os
from collections.abc import Callable


class Bell:
    """One process listens; those that hold a duplicate of the descriptor ring."""

    def __init__(self, place: Callable[[int], int] = lambda fd: fd) -> None:
        """``place`` may move the descriptor to another number."""
        self._fd = place(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def fileno(self) -> int:
        """Readable when somebody rang."""
        return self._fd

    def ring(self) -> None:
        """Wake the listener. A counter that is already full has been rung enough."""
        try:
            os.eventfd_write(self._fd, 1)
        except BlockingIOError:
            return

    def quiet(self) -> None:
        """Take the rings off, before looking at the board."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close this process's descriptor."""
        os.close(self._fd)
