"""The table of what was measured against the reference: printed at the end, and kept in a file."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table."""

    case: str
    outcome: str
    bound: str


class Results:
    """Rows in the order they came."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, case: str, outcome: str, bound: str = "") -> None:
        """Note an outcome; ``bound`` says what was asked for."""
        self.rows.append(Row(case, outcome, bound))

    def markdown(self, programs: Sequence[str]) -> str:
        """The table, under a line that says what was measured where."""
        rows = [Row("case", "outcome", "bound"), *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = [
            [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows
        ]
        padded.insert(1, ["-" * width for width in widths])
        table = "\n".join(f"| {' | '.join(row)} |" for row in padded)
        machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python"
        versions = ", ".join(map(version, programs))
        return f"{versions}; {machine} {platform.python_version()}\n\n{table}\n"


def version(program: str) -> str:
    """The first line of what the reference says about itself."""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=10)
    return said.stderr.partition("\n")[0]


def write(path: Path, text: str) -> None:
    """Write the file and the folder it is in."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
