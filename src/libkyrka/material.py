"""The long-term secrets of a context, masked while nobody uses them (kyrka sections 2.2 and 8)."""

from __future__ import annotations

import enum
import os
import stat

from chancel.errors import VaultError
from chancel.vault.secret import Secret, wipe
from libkyrka.constants import KYRKA_ERROR_FILE_ERROR, KYRKA_ERROR_INTERNAL, KYRKA_ERROR_NONE

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe must not wait for its writer
    | getattr(os, "O_BINARY", 0)
)


class Kind(enum.Enum):
    """What a secret is for, and its size in bytes."""

    SHARED = ("shared secret", 32)
    DEVICE_KEK = ("key that unwraps shared secrets", 32)
    CATHEDRAL = ("cathedral secret", 32)
    COSK = ("key that signs offers to a cathedral", 64)

    @property
    def size(self) -> int:
        """The only length that is accepted."""
        return self.value[1]


class Material:
    """Secrets by their kind; loading one again replaces it."""

    def __init__(self) -> None:
        self._secrets: dict[Kind, Secret] = {}

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._secrets

    def load(self, kind: Kind, data: memoryview | bytearray) -> bool:
        """Keep a copy of ``data``; ``False``, and nothing changes, if it has another size."""
        if len(data) != kind.size:
            return False
        self._secrets[kind] = Secret(data)
        return True

    def keep(self, kind: Kind, secret: Secret) -> None:
        """Keep a secret that somebody else has made, of the right size."""
        self._secrets[kind] = secret

    def find(self, kind: Kind) -> Secret | None:
        """The secret that is loaded now, if any: another object whenever it was loaded again."""
        return self._secrets.get(kind)

    def get(self, kind: Kind) -> Secret:
        """The same. Raises ``VaultError`` while there is none."""
        try:
            return self._secrets[kind]
        except KeyError:
            raise VaultError(f"there is no {kind.value[0]} yet: load it first") from None

    def shared(self) -> Secret:
        """The shared secret. Raises ``VaultError`` while there is none."""
        return self.get(Kind.SHARED)

    def copy_from(self, other: Material) -> None:
        """Take over all that the other has, under masks of our own."""
        for kind, secret in other._secrets.items():
            with secret.reveal() as revealed:
                self._secrets[kind] = Secret(revealed)

    def load_path(self, kind: Kind, path: str) -> int:
        """Load the first bytes of a regular file; a symbolic link isn't followed.

        Returns an error code: 0, 5 (not a regular file) or 6 (too short). Raises ``OSError`` where
        the file can't be opened.
        """
        content = read_regular(path, kind.size)
        if content is None:
            return KYRKA_ERROR_FILE_ERROR
        try:
            if not self.load(kind, content):
                return KYRKA_ERROR_INTERNAL
        finally:
            wipe(content)
        return KYRKA_ERROR_NONE


def read_regular(path: str, size: int) -> bytearray | None:
    """The first ``size`` bytes of a file, or as many as it has; a symbolic link isn't followed.

    ``None`` if it is something else than a regular file. Raises ``OSError``.
    """
    content = bytearray(size)
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            count = file.readinto(content)
    finally:
        os.close(descriptor)
    return content if count == size else content[:count]
