"""The runtime directory of starts that succeed, that fail, and that meet."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from chancel.daemon import runtime_dir
from chancel.errors import ConfigError
from tests.daemon.running import LIMIT_S, eventually


def test_it_is_private_and_stays_once_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with runtime_dir.made(path) as keep:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        keep()
    assert path.is_dir()


def test_of_a_start_that_fails_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), runtime_dir.made(tmp_path / "a" / "b"):
        raise ConfigError("file", None, None, "no luck")
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "a" / "b", tmp_path / "a"):
        with runtime_dir.made(path):
            pass
        assert [each.name for each in tmp_path.rglob("*")] == ["a"]


def test_what_others_put_there_is_left(tmp_path: Path) -> None:
    with runtime_dir.made(tmp_path / "a"):
        (tmp_path / "a" / "t.ctl").touch()
    assert (tmp_path / "a" / "t.ctl").exists()


def test_it_is_left_while_another_group_starts_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with runtime_dir.made(path):
        with runtime_dir.made(path):
            pass
        assert path.is_dir()
    assert not path.exists()  # nobody uses it, and who made it failed


def test_who_comes_while_it_is_taken_away_makes_it_anew(tmp_path: Path) -> None:
    """The test is the one that fails: it has the lock, and has yet to remove the directory."""
    path = tmp_path / "a"
    path.mkdir(mode=0o700)
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    found: list[bool] = []

    def start() -> None:
        with runtime_dir.made(path) as keep:
            found.append(path.is_dir())
            keep()

    second = threading.Thread(target=start)
    second.start()
    eventually(lambda: is_waited_for(fd))
    path.rmdir()
    os.close(fd)
    second.join(LIMIT_S)
    assert found == [True]
    assert path.is_dir()


def is_waited_for(fd: int) -> bool:
    """Whether somebody waits for the lock on this file."""
    number = f":{os.fstat(fd).st_ino} "
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and number in line for line in lines)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    def descriptors() -> list[str]:
        return sorted(each.name for each in Path("/proc/self/fd").iterdir())

    before = descriptors()
    for keeps in (False, True):
        with runtime_dir.made(tmp_path / "a") as keep:
            if keeps:
                keep()
    assert descriptors() == before
