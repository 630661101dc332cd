"""The last known addresses of a tunnel's peer, kept from one run to the next.

They are a first guess of where to send offers, no more: whatever stands there, only an authentic
answer makes an address the peer's. The guardian opens the file, ``NAME.peers``; the keeper reads
and writes it through the descriptor, so it needs no right to any directory for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from chancel.daemon import config_values
from chancel.daemon.config_values import Refused
from chancel.wire.types import Address

MAX_PEERS = 4
SUFFIX = ".peers"

FILE_BYTES = 256
"""Always the same, so that one write replaces it all. Four addresses have 212 bytes at most."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

log = logging.getLogger("chancel.daemon")


def path_of(directory: Path, instance: str) -> Path:
    """The file of a tunnel."""
    return directory / f"{instance}{SUFFIX}"


def open_file(path: Path) -> int:
    """Open a file for the keeper, made if there is none. Raises OSError."""
    fd = os.open(path, _FLAGS, 0o600)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(fd)
        raise OSError(f"{path} is not a file of its own")
    return fd


def remove_unused(path: Path) -> None:
    """Remove a file in which nothing was ever kept."""
    with contextlib.suppress(OSError):
        if path.lstat().st_size == 0:
            path.unlink()


class Peers:
    """One tunnel's file. ``fd`` is ours from now on; ``None``: nothing is kept."""

    def __init__(self, fd: int | None, instance: str) -> None:
        self._fd = fd
        self._instance = instance
        self._kept: tuple[Address, ...] = () if fd is None else _parse(os.pread(fd, FILE_BYTES, 0))

    @property
    def kept(self) -> tuple[Address, ...]:
        """The newest first."""
        return self._kept

    def keep(self, newest: Address) -> None:
        """Remember that the peer is here."""
        self.keep_all(dict.fromkeys((newest, *self._kept)))

    def keep_all(self, peers: Iterable[Address]) -> None:
        """Remember these, the newest first."""
        kept = tuple(peers)[:MAX_PEERS]
        if kept == self._kept or self._fd is None:
            return
        self._kept = kept
        text = "".join(f"{address}\n" for address in kept)
        try:
            os.pwrite(self._fd, text.encode().ljust(FILE_BYTES, b"\n"), 0)
        except OSError as error:  # it will do without, after the next start
            log.warning("peer's address not kept tunnel=%s error=%s", self._instance, error)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _parse(content: bytes) -> tuple[Address, ...]:
    """What can be read of a file that anything may have happened to."""
    found: dict[Address, None] = {}
    for line in content.decode("ascii", "replace").split("\n"):
        if not line or len(found) == MAX_PEERS:
            continue
        try:
            address = config_values.address(line)
        except Refused:
            continue
        if address.port:
            found[address] = None
    return tuple(found)
