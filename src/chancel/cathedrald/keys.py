"""The keys of a cathedral's clients, in files (cathedral section 3.2).

``DIRECTORY/flock-<flock>/<identity>.key`` is the secret shared with a client, ``….pub`` what its
signatures are checked with. They are read when they are first needed and kept in memory, secrets
masked; whether a file is still the same is looked at once a second at most, so that a flood of
offers doesn't become one of system calls. A file that can't be used is not looked at more often.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from chancel.errors import VaultError
from chancel.vault.files import load_secret
from chancel.vault.secret import Secret
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import FlockId

PUBLIC_BYTES = 32

VALID_S = 1.0
"""For how long a file is believed to be as it was."""

MAX_KEPT = 65_536
"""Files of each kind kept in memory, of some 400 bytes each; more clients than that cost a read
each time. Only clients in the settings are asked for, so strangers can't fill it."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

T = TypeVar("T")
Client = tuple[FlockId, CathedralId]
Mark = tuple[int, ...]
"""What tells a file from one that took its place."""


class _Kept(NamedTuple, Generic[T]):
    """What a file holds, or what is wrong with it, and until when it needn't be looked at."""

    mark: Mark | None
    until: float
    content: T | None
    problem: str


class _Files(Generic[T]):
    """Files of one kind, each read once for as long as it doesn't change."""

    def __init__(self, suffix: str, load: Callable[[Path], T], clock: Callable[[], float]) -> None:
        self._suffix = suffix
        self._load = load
        self._clock = clock
        self._kept: dict[Client, _Kept[T]] = {}

    def get(self, root: Path, client: Client) -> T:
        """The content of a client's file. Raises ``VaultError``."""
        kept = self._kept.get(client)
        now = self._clock()
        if kept is None or now >= kept.until:
            kept = self._look(root, client, kept, now)
        if kept.content is None:
            raise VaultError(kept.problem)
        return kept.content

    def _look(self, root: Path, client: Client, kept: _Kept[T] | None, now: float) -> _Kept[T]:
        flock, identity = client
        path = root / f"flock-{flock:x}" / f"{identity:08x}{self._suffix}"
        mark = _mark(path)
        if kept is not None and mark is not None and mark == kept.mark:
            found = kept._replace(until=now + VALID_S)
        else:
            try:
                found = _Kept(mark, now + VALID_S, self._load(path), "")
            except VaultError as error:
                found = _Kept(None, now + VALID_S, None, str(error))
        if client not in self._kept and len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[client] = found
        return found


class KeyDirectory:
    """The keys below one directory, as ``protocol.cathedral`` asks for them."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._secrets: _Files[Secret] = _Files(".key", load_secret, clock)
        self._publics: _Files[bytes] = _Files(".pub", load_public, clock)

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        """The secret shared with a client, 32 bytes: the same object until its file changes.

        Raises ``VaultError``, which names the file.
        """
        return self._secrets.get(self._root, (flock, identity))

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        """The public half of a client's signing key, 32 bytes. Raises ``VaultError``."""
        return self._publics.get(self._root, (flock, identity))


def load_public(path: Path) -> bytes:
    """Return the first 32 bytes of a file that everybody may read, and only root and we write.

    Raises ``VaultError`` for another file, and for a symbolic link.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
        try:
            _refuse_changeable(path, os.fstat(descriptor))
            content = bytearray(PUBLIC_BYTES)
            count = os.readv(descriptor, [content])
        finally:
            os.close(descriptor)
    except OSError as error:
        raise VaultError(
            f"{path}: {error.strerror}: put the client's public key there"
            " (made with its other half by `chancel ambry cosk-pair`)"
        ) from error
    if count < PUBLIC_BYTES:
        raise VaultError(f"{path}: has {count} bytes, needs {PUBLIC_BYTES}: copy it again")
    return bytes(content)


def _refuse_changeable(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise VaultError(f"{path}: is not a regular file: put the client's public key there")
    if status.st_uid not in (0, os.geteuid()):
        raise VaultError(
            f"{path}: belongs to user {status.st_uid}, who could change it: "
            f"chown it to root or to user {os.geteuid()}"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise VaultError(f"{path}: others can change it: chmod 644 {path}")


def _mark(path: Path) -> Mark | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return (
        *(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns),
        *(found.st_mode, found.st_uid),
    )
