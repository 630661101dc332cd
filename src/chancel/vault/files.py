"""Secrets in files: loaded only from a file that nobody else could have read or swapped.

Every refusal is a :class:`chancel.errors.VaultError` that names the file, the reason and the
remedy. The checks are made on the opened file, so it can't be exchanged between check and use.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from pathlib import Path

from chancel.errors import VaultError
from chancel.vault.secret import Secret, wipe

SECRET_BYTES = 32

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe must not wait for its writer
)


@dataclasses.dataclass(frozen=True, slots=True)
class SecretFile:
    """A file to be read anew at each use, so that replacing it takes effect (protocol section 1).

    Replace it by renaming another over it: a file that is half written counts as too short.
    """

    path: Path
    size: int = SECRET_BYTES

    def __call__(self) -> Secret:
        """Load the secret; see :func:`load_secret`."""
        return load_secret(self.path, self.size)


def load_secret(path: Path, size: int = SECRET_BYTES) -> Secret:
    """Return the first ``size`` bytes of a file of raw bytes; more are ignored.

    The file must be regular and not a symbolic link, belong to root or to us, give no rights to
    group or others, and lie in a directory where not everyone can replace it. Raises
    ``VaultError`` otherwise, and if it has less than ``size`` bytes or can't be read. So it does on
    systems that have no such owners and rights.
    """
    buffer = bytearray(size)
    try:
        count = _read_into(path, buffer)
        if count < size:
            raise VaultError(
                f"{path}: has {count} bytes, needs {size}: write {size} random bytes to it"
            )
        return Secret(buffer)
    except FileNotFoundError as error:
        raise VaultError(f"{path}: doesn't exist: create it, or correct the path") from error
    finally:
        wipe(buffer)


def load_record(path: Path, most: int) -> bytes:
    """Return up to ``most`` bytes of a file that has no secret, and that matters as much.

    What holds for a secret's file holds for this one, but that it may be short, or not be there:
    then it is empty. Raises ``VaultError``.
    """
    buffer = bytearray(most)
    try:
        return bytes(buffer[: _read_into(path, buffer)])
    except FileNotFoundError:
        return b""


def _read_into(path: Path, buffer: bytearray) -> int:
    """Fill the buffer from a safe file; returns how many bytes there were.

    Raises ``FileNotFoundError``, or ``VaultError`` for all else.
    """
    if not hasattr(os, "geteuid"):
        raise VaultError(
            f"{path}: this system doesn't say who can read a file: hand over the bytes instead"
        )
    try:
        _refuse_open_directory(path.parent)
        descriptor = os.open(path, _FLAGS)
        try:
            _refuse_unsafe(path, os.fstat(descriptor))
            return os.readv(descriptor, [buffer])
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise VaultError(f"{path}: {_explain(error)}") from error


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise VaultError(f"{path}: is not a regular file: name a file that holds the bytes itself")
    if status.st_uid not in (0, os.geteuid()):
        raise VaultError(
            f"{path}: belongs to user {status.st_uid}, who could change it: "
            f"chown it to root or to user {os.geteuid()}"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise VaultError(f"{path}: others have rights to it (mode {mode:04o}): chmod 600 {path}")


def _refuse_open_directory(directory: Path) -> None:
    mode = directory.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise VaultError(
            f"{directory}: everyone can replace the secrets in it "
            f"(mode {stat.S_IMODE(mode):04o}): chmod o-w {directory}"
        )


def _explain(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link: name the file itself"
    if error.errno == errno.EACCES:
        return f"user {os.geteuid()} can't read it: chown it to that user"
    return f"can't be read: {error.strerror}"
