"""The file that tells others which process to ask or to stop: the guardian's pid in decimal.

The guardian holds a lock on it (flock(2)) for as long as it lives, and the kernel lets go of it
with the guardian, however that ends. So a file without a lock is stale, whatever number stands in
it, and is taken over. The reference's daemon doesn't lock its file: one that names a living process
of that name is respected too.

As with the reference, the file exists, empty, from early in the start, and has content once the
tunnels are up.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from chancel.daemon.linux import MachineError

MODE = 0o400
"""That of the reference."""

MAX_BYTES = 32
ATTEMPTS = 10
"""Each one that fails is another program's success, or its end."""

_REFERENCE = "sanctum"

log = logging.getLogger("chancel.daemon")


class PidFile:
    """A file that is locked by us; nobody else has it until :meth:`remove`, or until we die."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def claim(cls, path: Path) -> PidFile:
        """Create the file, empty; a stale one is replaced. Raises :class:`MachineError`."""
        try:
            for _ in range(ATTEMPTS):
                if (fd := _create_locked(path)) is not None:
                    return cls(path, fd)
                _remove_stale(path)
        except OSError as error:
            raise MachineError(f"pidfile {path} can't be written: {error.strerror}") from error
        raise MachineError(f"pidfile {path} is replaced all the time (expected one of our own)")

    def write(self) -> None:
        """Say that we are up. Raises :class:`MachineError`."""
        try:
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)
        except OSError as error:
            raise MachineError(
                f"pidfile {self._path} can't be written: {error.strerror}"
            ) from error

    def remove(self) -> None:
        """Unlink the file, unless somebody put another one there, and let go of it.

        One that can't be unlinked is left behind, as after a crash, and told.
        """
        try:
            if _is_at(self._fd, self._path):
                self._path.unlink()
        except OSError as error:
            log.warning("pid file is left behind path=%s reason=%s", self._path, error.strerror)
        os.close(self._fd)


def _create_locked(path: Path) -> int | None:
    """The new file, locked; ``None`` if there is one, or if somebody was quicker with ours."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except FileExistsError:
        return None
    if _lock(fd) and _is_at(fd, path):
        return fd
    os.close(fd)
    return None


def _remove_stale(path: Path) -> None:
    """Raises :class:`MachineError` if it isn't stale."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        text = os.read(fd, MAX_BYTES).decode("ascii", "replace")
        if text and not text.isdigit():
            raise MachineError(f"pidfile {path} holds something else (expected no such file)")
        if not _lock(fd) or _is_reference(text):
            who = f"already running as process {text}" if text else "another process is starting"
            raise MachineError(f"pidfile {path}: {who}")
        if _is_at(fd, path):
            path.unlink()
            log.warning("stale pid file taken over path=%s pid=%s", path, text or "none")
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _is_reference(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == _REFERENCE
    except OSError:  # no such process, or no number at all
        return False
