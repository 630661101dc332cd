"""Files that the keeper replaces: whole or not at all.

The new content is written beside the old one, as ``NAME.new``, reaches the disk, and is renamed
over it. So a full disk, a crash or a power cut leaves what was there before. The directory itself
isn't synced: who loses only the renaming gets the content again from a cathedral.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from chancel.wire.types import Buffer

_WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

SUFFIX = ".new"


def replace(path: str, data: Buffer) -> None:
    """Make ``data`` the content of a file that its owner alone can read (mode 0600).

    Raises OSError; then the file is what it was.
    """
    fresh = Path(path + SUFFIX)
    fresh.unlink(missing_ok=True)
    try:
        _write(fresh, data)
        fresh.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def read(path: str, size: int) -> bytes:
    """The first ``size`` bytes of a regular file, or what it has. Raises OSError."""
    fd = os.open(path, _READING)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a regular file")
        buffer = bytearray(size)
        return bytes(buffer[: os.readv(fd, [buffer])])
    finally:
        os.close(fd)


def _write(path: Path, data: Buffer) -> None:
    fd = os.open(path, _WRITING, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
