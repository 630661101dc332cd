"""Examples as people start them: each a process of its own, told and heard by its streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

EXAMPLES = Path(__file__).parents[2] / "examples"

TIMEOUT_S = 60
"""Bounds a hang."""


class Program:
    """A running example. Its lines are read as they come; its end is waited for."""

    def __init__(self, name: str, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, EXAMPLES / name, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        left = self._process.communicate()
        if error is not None:
            error.add_note(f"{self._process.args!r} had still to say: {left}")

    def line(self) -> str:
        """The next line of its output. Empty at its end."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def type(self, line: str) -> None:
        """A line of its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def finish(self) -> tuple[int, str, str]:
        """End its input; return its status and the rest of what it says."""
        output, errors = self._process.communicate(timeout=TIMEOUT_S)
        return self._process.returncode, output, errors
