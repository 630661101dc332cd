"""Clients' keys in files: which are believed, and for how long."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.cathedrald import keys
from chancel.cathedrald.keys import VALID_S, KeyDirectory
from chancel.errors import VaultError
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import FlockId
from tests.cathedrald.parish import FLOCK, IDENTITY, OTHER, Parish


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def replace(path: Path, content: bytes, mode: int) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(path)


def test_secrets_and_public_keys(parish: Parish) -> None:
    directory = KeyDirectory(parish.keys)
    for flock in (FLOCK, OTHER):
        with directory.secret(flock, IDENTITY).reveal() as secret:
            assert bytes(secret) == parish.key(flock).read_bytes()
        public = directory.public(flock, IDENTITY)
        assert public == parish.key(flock, ".pub").read_bytes() == parish.cosks[flock][32:]


def test_more_than_the_key_is_ignored(parish: Parish) -> None:
    parish.key(suffix=".pub").write_bytes(bytes(range(40)))
    assert KeyDirectory(parish.keys).public(FLOCK, IDENTITY) == bytes(range(32))


def test_names_are_lower_case_without_leading_zeros(parish: Parish) -> None:
    path = parish.keys / "flock-ab00" / "0000000f.pub"
    path.parent.mkdir()
    path.write_bytes(bytes(32))
    directory = KeyDirectory(parish.keys)
    assert directory.public(FlockId(0xAB00), CathedralId(0xF)) == bytes(32)


def test_a_replaced_file_counts_within_a_second(parish: Parish) -> None:
    clock = Clock()
    directory = KeyDirectory(parish.keys, clock)
    before = directory.secret(FLOCK, IDENTITY)
    replace(parish.key(), b"\1" * 32, 0o600)
    assert directory.secret(FLOCK, IDENTITY) is before
    clock.now += VALID_S
    after = directory.secret(FLOCK, IDENTITY)
    assert after is not before
    clock.now += VALID_S
    assert directory.secret(FLOCK, IDENTITY) is after  # the same object until the file changes


def test_files_are_looked_at_once_a_second(parish: Parish, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    directory = KeyDirectory(parish.keys, clock)
    looks: list[Path] = []
    mark = keys._mark

    def look(path: Path) -> keys.Mark | None:
        looks.append(path)
        return mark(path)

    monkeypatch.setattr(keys, "_mark", look)
    unknown = CathedralId(0xBAD)
    for _ in range(100):
        directory.secret(FLOCK, IDENTITY)
        directory.public(FLOCK, IDENTITY)
        with pytest.raises(VaultError):
            directory.secret(FLOCK, unknown)
    assert len(looks) == 3
    clock.now += VALID_S
    directory.secret(FLOCK, IDENTITY)
    assert len(looks) == 4


def test_a_missing_key_may_come_later(parish: Parish) -> None:
    clock = Clock()
    directory = KeyDirectory(parish.keys, clock)
    key = parish.key()
    key.rename(parish.folder / "aside")
    with pytest.raises(VaultError, match=f"{key}: doesn't exist"):
        directory.secret(FLOCK, IDENTITY)
    (parish.folder / "aside").rename(key)
    clock.now += VALID_S
    assert directory.secret(FLOCK, IDENTITY)


def test_what_is_kept_is_bounded(parish: Parish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEPT", 2)
    directory = KeyDirectory(parish.keys)
    for number in range(5):
        with pytest.raises(VaultError):
            directory.public(FLOCK, CathedralId(number + 1))
    assert len(directory._publics._kept) == 2


def symlink(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def shorten(path: Path) -> None:
    os.truncate(path, 31)


def open_to_readers(path: Path) -> None:
    path.chmod(0o644)


def open_to_writers(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("suffix", [".key", ".pub"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (symlink, "symbolic link"),
        (pipe, "is not a regular file"),
        (shorten, "has 31 bytes, needs 32"),
        (open_to_writers, "others"),
    ],
)
def test_files_that_are_refused(
    parish: Parish, suffix: str, spoil: Callable[[Path], None], problem: str
) -> None:
    path = parish.key(suffix=suffix)
    spoil(path)
    directory = KeyDirectory(parish.keys)
    get = directory.secret if suffix == ".key" else directory.public
    with pytest.raises(VaultError, match=problem) as caught:
        get(FLOCK, IDENTITY)
    assert str(path) in str(caught.value)


def test_only_public_keys_may_be_read_by_others(parish: Parish) -> None:
    open_to_readers(parish.key())
    open_to_readers(parish.key(suffix=".pub"))
    directory = KeyDirectory(parish.keys)
    assert directory.public(FLOCK, IDENTITY)
    with pytest.raises(VaultError, match="others have rights to it"):
        directory.secret(FLOCK, IDENTITY)
