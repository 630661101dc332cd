"""Files that a tunnel keeps: replaced whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from chancel.errors import VaultError
from chancel.wire.types import Buffer


def replace_file(path: Path, data: Buffer) -> None:
    """Give a file this content, for its owner alone; it has the old one until it has the new one.

    Raises ``VaultError``, and then the old content is still there.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise VaultError(f"{path}: can't be replaced: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise VaultError(f"{path}: can't be replaced: {error.strerror}") from error
