"""``chancel keygen``: a new shared secret in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SECRET_BYTES = 32


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; new.")],
) -> None:
    """Make a shared secret: 32 random bytes that only you can read.

    Both ends of a tunnel need the same file. Carry it there by a way that nobody can listen to.

    \b
    Example:
      chancel keygen office.secret
    """
    make_secret(file)
    typer.echo(f"{file} holds {SECRET_BYTES} random bytes")


def make_secret(file: Path) -> None:
    """Write a new secret whole, or leave nothing behind. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        with open(descriptor, "wb") as secret:
            secret.write(os.urandom(SECRET_BYTES))
            secret.flush()
            os.fsync(secret.fileno())
    except OSError as error:
        file.unlink()
        error.filename = str(file)
        raise
