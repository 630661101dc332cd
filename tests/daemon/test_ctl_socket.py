"""Control sockets in places where others may write, and where we may not."""

from __future__ import annotations

import os
import pwd
import socket
import stat
from pathlib import Path

import pytest

from chancel.daemon import ctl_socket
from chancel.daemon.config_types import ControlSocket
from chancel.daemon.linux import MachineError

ME = pwd.getpwuid(os.geteuid()).pw_name


def test_the_status_socket_is_for_its_owner_alone(tmp: Path) -> None:
    path = tmp / "control"
    ctl_socket.open_status(ControlSocket(path, ME)).close()
    assert stat.S_IMODE(path.lstat().st_mode) == 0o700


def test_only_the_socket_itself_is_given_away(tmp: Path) -> None:
    """Whoever may write to the directory can put a link in its place before it is given to him."""
    treasure, path = tmp / "treasure", tmp / "control"
    treasure.write_text("")
    path.symlink_to(treasure)
    with pytest.raises(FileExistsError, match="somebody put another file there"):
        ctl_socket._give(path, os.geteuid(), os.getegid())
    path.unlink()
    os.link(treasure, path)
    with pytest.raises(FileExistsError):
        ctl_socket._give(path, os.geteuid(), os.getegid())
    path.unlink()
    ctl_socket.open_ctl(path).close()
    ctl_socket._give(path, os.geteuid(), os.getegid())


def test_a_socket_that_cant_be_removed_is_told_and_left(
    tmp: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp / "left.ctl"
    ctl_socket.open_ctl(path).close()

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("chancel.daemon.ctl_socket.Path.unlink", refuse)
    ctl_socket.remove(path)
    assert f"socket is left behind path={path} reason=Permission denied" in caplog.text


def test_who_is_busy_is_there(tmp: Path) -> None:
    path = tmp / "busy.ctl"
    with ctl_socket.open_ctl(path) as listening:
        waiting = []
        try:
            while True:
                knock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                waiting.append(knock)
                try:
                    knock.connect(str(path))
                except BlockingIOError:
                    break
                assert len(waiting) < 10 * ctl_socket.BACKLOG
            assert ctl_socket.answers(path)
            with pytest.raises(MachineError, match="already running"):
                ctl_socket.open_ctl(path)
        finally:
            for each in waiting:
                each.close()
        assert listening.fileno() >= 0
    assert not ctl_socket.answers(path)
