"""How a program gives keys: as they are, in files, or by functions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from chancel.errors import LocalProtocolError, VaultError
from chancel.protocol.base_keys import SecretSource
from chancel.vault.files import SECRET_BYTES, SecretFile
from chancel.vault.secret import Secret
from chancel.wire.types import Buffer

Key = Secret | Path | Buffer | SecretSource
"""How a key is given: as it is, in a file, or by a function that loads it."""

_MAKE_ONE: Final = f"make one with secrets.token_bytes({SECRET_BYTES})"


def shared_source(secret: Key | None) -> SecretSource:
    """Where the shared secret comes from; ``None``: from nowhere, until an ambry brings it."""
    if secret is None:
        return _none_yet
    return key_source(secret, "shared secret", SECRET_BYTES, _MAKE_ONE)


def key_source(key: Key, name: str, size: int, remedy: str) -> SecretSource:
    """Where a key comes from. A path is read at each use, bytes are copied.

    Raises ``LocalProtocolError`` for a key of another length, or none at all.
    """
    if isinstance(key, Path):
        return SecretFile(key, size)
    if isinstance(key, bytes | bytearray | memoryview):
        key = Secret(key)
    if not isinstance(key, Secret):
        if not callable(key):
            raise LocalProtocolError(
                f"{type(key).__name__} is no {name}: give a Secret, {size} bytes, a Path, or a"
                " function that loads one"
            )
        return key
    if len(key) != size:
        raise LocalProtocolError(f"a {name} has {size} bytes, not {len(key)}: {remedy}")
    kept = key
    return lambda: kept


def _none_yet() -> Secret:
    raise VaultError("no cathedral has handed out the shared secret yet")
