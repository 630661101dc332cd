"""Files that are there whole or not at all, whatever happens: a full disk, a kill, a power cut.

What is written goes to a new file, or folder, beside its place, to the disk, and only then gets its
name. An error takes the unfinished one away; after a kill it may stay, hidden (``.NAME.random``),
and nothing looks at it.

Modes: 0400, as nobody executes a key (the reference has 0500). A file that replaces another belongs
to the same user and group: root may roll the keys of somebody else.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from chancel.errors import VaultError
from chancel.wire.types import Buffer

MODE = 0o400


class Staged:
    """A finished file beside its place; see :func:`staged`."""

    def __init__(self, place: Path, finished: Path) -> None:
        self._place = place
        self._finished = finished

    def read(self) -> bytes:
        """What the disk has, to be compared before it counts."""
        return self._finished.read_bytes()

    def replace(self) -> None:
        """Put it in its place; what was there is gone."""
        self._finished.replace(self._place)
        _flush(self._place.parent)

    def put_new(self) -> None:
        """Put it in its place; raises ``VaultError`` if something is there."""
        try:
            os.link(self._finished, self._place)
        except FileExistsError as error:
            raise VaultError(f"{self._place}: exists, and is kept: name another file") from error
        _flush(self._place.parent)


@contextmanager
def staged(place: Path, data: Buffer, *, keep_mode: bool = False) -> Iterator[Staged]:
    """Write ``data`` for ``place``; what isn't put there is gone when the block ends.

    ``keep_mode``: who may read what is there now may read this too. Raises ``VaultError`` if that
    is something else than a file.
    """
    before = _there(place)
    with _naming(place):
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    finished = Path(name)
    try:
        with _naming(place), open(descriptor, "wb", buffering=0) as file:
            _write(file, data)
            _take_after(before, file.fileno(), keep_mode)
            os.fsync(file.fileno())
        yield Staged(place, finished)
    finally:
        finished.unlink(missing_ok=True)


def write_inside(path: Path, data: Buffer) -> None:
    """Write a new file in a folder that has no name yet (:func:`new_folder`)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with _naming(path), open(os.open(path, flags, MODE), "wb", buffering=0) as file:
        _write(file, data)


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Lend a folder to fill; when the block ends without an error, ``place`` is it.

    Raises ``VaultError`` if there is something at ``place`` already.
    """
    _refuse_existing(place)
    with _naming(place):
        unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        yield unfinished
        _refuse_existing(place)
        with _naming(place):
            for path in unfinished.rglob("*"):  # all at once is many times faster than one by one
                _flush(path)
            _flush(unfinished)
            unfinished.rename(place)
            _flush(place.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _refuse_existing(place: Path) -> None:
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise VaultError(f"{place}: exists, and is kept: move it away if it may go")


def _write(file: FileIO, data: Buffer) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _there(place: Path) -> os.stat_result | None:
    try:
        status = place.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise VaultError(f"{place}: is not a regular file, and is kept: name another one")
    return status


def _take_after(before: os.stat_result | None, descriptor: int, keep_mode: bool) -> None:
    if before is not None:
        os.fchown(descriptor, before.st_uid, before.st_gid)
    mode = MODE if before is None or not keep_mode else stat.S_IMODE(before.st_mode)
    os.fchmod(descriptor, mode)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Have errors of the machine name the place, not the file that a user never sees."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from error
