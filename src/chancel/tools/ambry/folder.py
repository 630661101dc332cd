"""Where the keys of a flock are: the reference's names, below a folder of the owner's choice.

::

    <flock>/kek-data/kek-0x<id>                the KEK that a device gets
    <flock>/internal/kek-0x<id>                what its own flock's bundles are made with
    <flock>/external/<other flock>/kek-0x<id>  what those with another flock are made with
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chancel.errors import VaultError
from chancel.wire.types import FlockId, Flocks


def flock_name(flock: int) -> str:
    """Return the 16 hex digits that stand for a flock in names of files."""
    return f"{flock:016x}"


def device_name(device: int) -> str:
    """Return the name of a device's key file."""
    return f"kek-0x{device:02x}"


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """The keys of one flock below ``root``."""

    root: Path
    flock: FlockId

    @property
    def path(self) -> Path:
        """All of them."""
        return self.root / flock_name(self.flock)

    def device(self, device: int) -> Path:
        """The KEK of a device."""
        return self.path / "kek-data" / device_name(device)

    def derived(self, other: FlockId) -> Path:
        """The folder of the derived KEKs for bundles with ``other``, which may be this flock."""
        if other == self.flock:
            return self.path / "internal"
        return self.path / "external" / flock_name(other)

    def partners(self) -> list[Path]:
        """The folders of all derived KEKs that were exported for other flocks."""
        external = self.path / "external"
        return sorted(external.iterdir()) if external.is_dir() else []

    @contextmanager
    def held(self, *, to_change: bool) -> Iterator[None]:
        """Keep other programs of this kind from changing the keys meanwhile.

        Raises ``VaultError`` if there are no keys, or if one is at work on them.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise VaultError(
                f"{self.path}: no keys of this flock here: go where they are, or make them with"
                f" chancel ambry generate {self.flock:x}"
            ) from error
        try:
            self._lock(descriptor, fcntl.LOCK_EX if to_change else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, kind: int) -> None:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VaultError(
                f"{self.path}: another chancel ambry is at work on these keys: wait for its end"
            ) from error


@contextmanager
def held(root: Path, flocks: Flocks, *, to_change: bool) -> Iterator[None]:
    """:meth:`Folder.held` for all that a bundle is made with; only the own flock's may change."""
    own, peer = flocks
    with ExitStack() as stack:
        stack.enter_context(Folder(root, own).held(to_change=to_change))
        if peer != own:
            stack.enter_context(Folder(root, peer).held(to_change=False))
        yield
