"""Loading secrets: what is accepted, and each refusal by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from chancel.errors import VaultError
from chancel.vault.files import SecretFile, load_secret
from chancel.vault.secret import Secret

BYTES = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(BYTES)
    path.chmod(0o600)
    return path


def content(secret: Secret) -> bytes:
    with secret.reveal() as view:
        return bytes(view)


def refused(path: Path, reason: str) -> None:
    with pytest.raises(VaultError, match=re.escape(str(path))) as caught:
        load_secret(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o400, 0o500, 0o600, 0o700])
def test_a_private_file_is_loaded(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert content(load_secret(path)) == BYTES


def test_only_the_first_bytes_count(path: Path) -> None:
    path.write_bytes(BYTES + b"more")
    assert content(load_secret(path)) == BYTES
    assert content(load_secret(path, size=33)) == BYTES + b"m"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o620, 0o602, 0o644, 0o4644])
def test_rights_of_others_are_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    refused(path, f"(mode {mode:04o}): chmod 600")


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_short_file_is_refused(path: Path, size: int) -> None:
    path.write_bytes(BYTES[:size])
    refused(path, f"has {size} bytes, needs 32")


def test_a_symbolic_link_is_refused(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    refused(link, "symbolic link")


def test_a_missing_file_is_refused(path: Path) -> None:
    refused(path.with_name("other"), "doesn't exist")
    refused(path.with_name("no") / "secret", "doesn't exist")


def test_a_directory_is_refused(path: Path) -> None:
    refused(path.parent, "is not a regular file")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    refused(pipe, "is not a regular file")


def test_somebody_elses_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # root's files are always good
        assert content(load_secret(path)) == BYTES
    else:
        refused(path, f"belongs to user {owner}")


def test_an_unreadable_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root reads everything, so the kernel's answer is given for it.
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    refused(path, "can't read it")


def test_a_directory_open_to_everyone_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(VaultError, match=r"everyone can replace .* chmod o-w"):
        load_secret(path)
    path.parent.chmod(0o1777)
    assert content(load_secret(path)) == BYTES


def test_a_secret_file_is_read_at_each_use(path: Path) -> None:
    source = SecretFile(path)
    assert content(source()) == BYTES
    path.write_bytes(BYTES[:5])
    with pytest.raises(VaultError):
        source()
    path.write_bytes(BYTES[::-1])
    assert content(source()) == BYTES[::-1]


def test_no_descriptor_is_left_open(path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    load_secret(path)
    path.chmod(0o644)
    with pytest.raises(VaultError):
        load_secret(path)
    assert count() == before
