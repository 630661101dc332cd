"""What an engine found: the bytes, what they broke, and the command that does it again."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("out") / "fuzz"
"""Where findings and logs go, seen from the repository's root."""

SUFFIX = ".hex"


class Finding(NamedTuple):
    """One input that broke its target's invariant."""

    target: str
    data: bytes
    path: Path

    @property
    def command(self) -> str:
        """What a person types to see it again."""
        return f'make fuzz ARGS="--reproduce {self.path}"'


def write(target: str, data: bytes, problem: str) -> Finding:
    """Keep an input as a file, and beside it (``.txt``) what it did."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(data).hexdigest()[:12]
    path = FOLDER / f"{target}-{name}{SUFFIX}"
    path.write_text(f"{data.hex()}\n")
    finding = Finding(target, data, path)
    path.with_suffix(".txt").write_text(f"{finding.command}\n\n{problem}")
    return finding


def of_error(target: str, data: bytes, error: BaseException) -> Finding:
    """The finding that an exception is."""
    return write(target, data, "".join(traceback.format_exception(error)))


def read(path: Path) -> Finding:
    """A finding that was kept. Raises ``ValueError`` for a file that is none."""
    target, _, _ = path.stem.rpartition("-")
    return Finding(target, bytes.fromhex(path.read_text().strip()), path)
