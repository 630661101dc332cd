"""Whether the daemon of a tunnel is there, by its pid file: ours, or the reference's.

Our daemon holds a lock on its file as long as it lives (``chancel.daemon.pidfile``); the
reference's doesn't, so a file that names a living process of that program counts as well. Anything
else was left behind by a crash, whatever number stands in it.

A lock can only be looked at by taking it, which could be in the way of a daemon that starts. So an
empty file, whose daemon is starting, is taken at its word while it is young.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from pathlib import Path

STARTING_S = 10.0
"""So long a file may stay empty; as long as the reference's tool waits for a start."""

MAX_BYTES = 32

_REFERENCE = "sanctum"


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A daemon: its process, or ``None`` while it starts."""

    pid: int | None


def daemon_of(pidfile: Path | None) -> Running | None:
    """The daemon that has this pid file; ``None`` if there is none.

    Somebody else's file is nobody's: its number is what they would like to see signalled.
    """
    if pidfile is None:
        return None
    try:
        descriptor = os.open(pidfile, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # none, or nobody's that we could ask
        return None
    try:
        if os.fstat(descriptor).st_uid not in {0, os.geteuid()}:
            return None
        text = os.read(descriptor, MAX_BYTES).decode("ascii", "replace").strip()
        if not text and time.time() - os.fstat(descriptor).st_mtime < STARTING_S:
            return Running(None)
        if not _is_locked(descriptor) and not _is_reference(text):
            return None
        return Running(int(text) if text.isdigit() else None)
    finally:
        os.close(descriptor)


def remove_stale(pidfile: Path) -> None:
    """Take away what a crash left behind, or the reference's tool would believe it for ever.

    To be called for a file that has no daemon (:func:`daemon_of`).
    """
    try:
        descriptor = os.open(pidfile, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), pidfile.lstat()):
                pidfile.unlink()
    except BlockingIOError:  # a daemon was quicker: it isn't stale any more
        pass
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_reference(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == _REFERENCE
    except OSError:  # no such process, or no number at all
        return False
