"""The runtime directory while a group starts: made where there is none, and gone if it fails.

Groups may start at the same time in one directory. So each holds a shared lock (flock(2)) on it
until it has its sockets there, and one that fails takes away what it made only if it gets the lock
for itself: nobody loses the directory between making it and using it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from chancel.daemon import places


@contextlib.contextmanager
def made(path: Path) -> Iterator[Callable[[], None]]:
    """Make the directory (mode 0700, and its parents) unless it is there, for a ``with`` block.

    Yields what is called once there are sockets in it. Without that call, whatever was made here,
    and is empty, is removed at the end. Raises :class:`ConfigError`.
    """
    new = [each for each in (path, *path.parents) if not each.exists()]
    with contextlib.ExitStack() as held:
        fd = _hold(path)
        held.callback(os.close, fd)
        held.callback(_take_away, fd, new)

        def keep() -> None:
            held.pop_all()
            os.close(fd)

        yield keep


def _hold(path: Path) -> int:
    """Make the directory, and lock it against removal; returns its descriptor."""
    while True:
        places.make_dir(path)
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as held:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, fd)
            with contextlib.suppress(OSError):  # a file system without locks: none is removed
                fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(fd), path.stat()):
                held.pop_all()
                return fd
        # Another one's start failed, and took the directory away: once more.


def _take_away(fd: int, directories: list[Path]) -> None:
    """Remove the directories, innermost first, as far as they are empty and nobody starts there."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for each in directories:
            each.rmdir()
