"""Vicar files on disk: written, read, and unpacked into the files that a configuration names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chancel.crypto import vicar
from chancel.crypto.vicar import FILE_BYTES, SALT_BYTES, Progress, Vicar
from chancel.errors import VaultError
from chancel.tools.ambry.files import new_folder, staged, write_inside
from chancel.vault.files import load_secret
from chancel.wire.types import Address

KEYS: Final = {"kek": 32, "cs": 32, "cosk": 64}
"""The keys in a file, as the reference names them, and their sizes in bytes."""


def gather(
    identity: int, flock: int, tunnel: int, cathedral: Address, paths: dict[str, Path]
) -> Vicar:
    """What is to stand in a file, with the keys of these files. Raises ``VaultError``."""
    keys = {}
    for name, size in KEYS.items():
        with load_secret(paths[name], size).reveal() as secret:
            keys[name] = bytes(secret)
    return Vicar(identity, flock, tunnel, cathedral, keys["kek"], keys["cosk"], keys["cs"])


def write(
    content: Vicar, ask: Callable[[], bytes], out: Path, progress: Progress | None = None
) -> None:
    """Write a new file, whole or not at all, under the passphrase that is then asked for.

    Raises ``VaultError`` if there is one already.
    """
    if out.exists() or out.is_symlink():
        raise VaultError(f"{out}: exists, and is kept: name another file")
    data = vicar.seal(content, ask(), os.urandom(SALT_BYTES), progress)
    with staged(out, data) as file:
        file.put_new()


def read(path: Path, ask: Callable[[], bytes], progress: Progress | None = None) -> Vicar:
    """Open a file; ``ask`` for its passphrase once it looks like one.

    Raises ``OSError``; ``VaultError`` that names it if it can't be opened.
    """
    data = path.read_bytes()
    if len(data) != FILE_BYTES:
        raise VaultError(f"{path}: has {len(data)} bytes, a vicar file has {FILE_BYTES}")
    content = vicar.unseal(data, ask(), progress)
    if content is None:
        raise VaultError(f"{path}: wrong passphrase, or the file is damaged")
    return content


def unpack(content: Vicar, folder: Path) -> None:
    """Write the keys as files of a new folder: ``kek``, ``cs`` and ``cosk``.

    Raises ``VaultError`` if the folder has something in it.
    """
    with new_folder(folder) as place:
        for name, key in zip(KEYS, (content.kek, content.secret, content.cosk), strict=True):
            write_inside(place / name, key)
