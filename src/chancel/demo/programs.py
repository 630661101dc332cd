"""Programs that may play a role in a parish, and how one is ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from chancel.errors import ChancelError

END_LIMIT_S = 10.0


class PlayError(ChancelError):
    """A program did not do what was expected; the message says what that was."""


class Program(NamedTuple):
    """A daemon: its name in tables, and its command without ``-c FILE``.

    ``orphans``: when its guardian is killed, its other processes stay.
    """

    name: str
    command: tuple[str, ...]
    orphans: bool = False

    def end(self, daemon: subprocess.Popen[Any], how: signal.Signals, hint: str) -> None:
        """Signal a guardian, and with SIGKILL all that it would leave behind; nothing is left.

        The status has to be 0 after SIGTERM. Raises PlayError with ``hint`` at its end otherwise.
        """
        children = [os.pidfd_open(pid) for pid in _children(daemon.pid)]
        daemon.send_signal(how)
        if how == signal.SIGKILL and self.orphans:
            for child in children:
                signal.pidfd_send_signal(child, how)
        status = daemon.wait(END_LIMIT_S)
        for child in children:
            _wait_gone(child)
        expected = 0 if how == signal.SIGTERM else -how
        if status != expected:
            raise PlayError(f"{self.name} ended with {status}: {hint}")


CHANCEL = Program("chancel", (sys.executable, "-m", "chancel.cli.main", "run"))


def reference(path: str) -> Program:
    """The reference's daemon at a path."""
    return Program("reference", (path,), orphans=True)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_gone(pidfd: int) -> None:
    """A pidfd becomes readable when its process has ended."""
    with os.fdopen(pidfd, "rb", buffering=0):
        ready = select.select([pidfd], [], [], END_LIMIT_S)[0]
    if not ready:
        raise PlayError("a process of the daemon outlived its guardian")
