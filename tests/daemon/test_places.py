"""Where control sockets are, and whom their directory must not belong to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from chancel.daemon import places
from chancel.errors import ConfigError


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {places.ENVIRONMENT: "/from/environment"}
    assert places.runtime_dir(tmp_path, environ) == tmp_path
    assert places.runtime_dir(None, environ) == Path("/from/environment")


def test_root_of_the_machine_has_the_references_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "is_machine_root", lambda: True)
    assert places.runtime_dir(None, {"XDG_RUNTIME_DIR": "/run/user/0"}) == Path("/run/hymn")


def test_others_have_a_directory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "is_machine_root", lambda: False)
    assert places.runtime_dir(None, {"XDG_RUNTIME_DIR": "/x"}) == Path("/x/chancel")
    monkeypatch.setattr(os, "geteuid", lambda: 4242424)
    home = {"HOME": "/home/someone"}
    assert places.runtime_dir(None, home) == Path("/home/someone/.local/state/chancel/run")
    with pytest.raises(ConfigError, match="--runtime-dir: needed"):
        places.runtime_dir(None, {})


def test_make_dir_is_private_and_repeatable(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert places.make_dir(path) == places.make_dir(path) == path
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(ConfigError, match=f"writable by others .*chmod 700 {tmp_path}"):
        places.make_dir(tmp_path)


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242424)
    with pytest.raises(ConfigError, match="belongs to another user"):
        places.check_dir(tmp_path)


def test_a_link_or_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(ConfigError, match="directory of your own"):
            places.make_dir(tmp_path / name)


def test_control_sockets(tmp_path: Path) -> None:
    directory = places.make_dir(tmp_path / "run")
    assert places.control_sockets(tmp_path / "none") == []
    (directory / "file.ctl").touch()
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(str(places.control_socket(directory, "b")))
        other.bind(str(places.control_socket(directory, "a")))
        assert [path.name for path in places.control_sockets(directory)] == ["a.ctl", "b.ctl"]


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at most 107 bytes"):
        places.control_socket(tmp_path / ("x" * 100), "name")
