"""The examples are typed, as a program's author would check them: with mypy's own strict settings.

``make lint`` checks the rest of the repository with the repository's settings, and leaves the
examples to this test.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples.programs import EXAMPLES


def test_mypy_is_content(tmp_path: Path) -> None:
    """Run elsewhere, so that no configuration of ours is found and Chancel is what is installed."""
    sources = sorted(EXAMPLES.glob("**/*.py"))
    assert sources
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *map(str, sources)]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
