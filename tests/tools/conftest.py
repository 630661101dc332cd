"""Keys to play with, made once: two flocks, each exported for the other, and one bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chancel.tools.ambry import keys
from chancel.tools.ambry.folder import Folder
from tests.tools.playing import FLOCK, NOW, OTHER, SUITE, bundle_of, quiet


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all keys, to be looked at only."""
    root = tmp_path_factory.mktemp("keys")
    for flock in (FLOCK, OTHER):
        keys.generate(Folder(root, flock), SUITE, quiet)
    keys.export(Folder(root, FLOCK), OTHER, SUITE, quiet)
    keys.export(Folder(root, OTHER), FLOCK, SUITE, quiet)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    copy = tmp_path / "root"
    shutil.copytree(made, copy)
    return copy


@pytest.fixture(scope="session")
def bundle(made: Path) -> bytes:
    """A bundle of the one flock, for 30 days from ``NOW``."""
    return bundle_of(made, FLOCK, FLOCK, NOW)
