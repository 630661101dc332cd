"""A key for both ends."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file that nobody else can read."""
    file = tmp_path / "example.key"
    file.touch(mode=0o600)
    file.write_bytes(secrets.token_bytes(32))
    return file
