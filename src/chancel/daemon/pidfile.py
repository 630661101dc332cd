"""The file that tells others which process to ask or to stop: the guardian's pid in decimal."""

from __future__ import annotations

import os
from pathlib import Path

from chancel.daemon.linux import MachineError

MAX_BYTES = 32


def write(path: Path) -> None:
    """Create the file with our pid; the file of a guardian that is gone is replaced.

    Raises :class:`MachineError`.
    """
    try:
        if os.path.lexists(path):
            _take_over(path)
        pidfile = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        with open(pidfile, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except OSError as error:
        raise MachineError(f"pidfile {path} can't be written: {error.strerror}") from error


def _take_over(path: Path) -> None:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="ascii") as file:
        text = file.read(MAX_BYTES)
    if text.isdigit() and _is_ours(int(text)):
        raise MachineError(f"pidfile {path}: already running as process {text}")
    if text and not text.isdigit():
        raise MachineError(f"pidfile {path} holds something else (expected no such file)")
    path.unlink()


def _is_ours(pid: int) -> bool:
    """Whether that process lives and looks like one of Chancel's; numbers are used again."""
    try:
        _interpreter, *arguments = (
            Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        )
    except (OSError, ValueError):
        return False
    return any(Path(each).name == "chancel" or each.startswith("chancel.") for each in arguments)
