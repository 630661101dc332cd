"""The pid file: ours, a dead guardian's, a living one's, and somebody else's file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chancel.daemon import pidfile
from chancel.daemon.linux import MachineError


def wait_for_its_command_line(pid: int) -> None:
    """A process that has just begun shows an empty one for a moment."""
    while not Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.001)


def test_it_holds_our_pid(tmp_path: Path) -> None:
    pidfile.write(tmp_path / "pid")
    assert (tmp_path / "pid").read_text() == str(os.getpid())


@pytest.mark.parametrize("content", ["", "4194305"])
def test_a_stale_one_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "pid").write_text(content)
    pidfile.write(tmp_path / "pid")
    assert (tmp_path / "pid").read_text() == str(os.getpid())


def test_the_pid_of_another_program_is_stale(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "input()", "/srv/chancel/notes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        wait_for_its_command_line(other.pid)
        (tmp_path / "pid").write_text(str(other.pid))
        pidfile.write(tmp_path / "pid")
        other.communicate(b"\n")


@pytest.mark.parametrize("program", ["/opt/bin/chancel", "chancel.cli.main"])
def test_a_living_guardian_is_not_replaced(tmp_path: Path, program: str) -> None:
    command = [sys.executable, "-c", "input()", program, "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        wait_for_its_command_line(other.pid)
        (tmp_path / "pid").write_text(str(other.pid))
        with pytest.raises(MachineError, match=f"already running as process {other.pid}"):
            pidfile.write(tmp_path / "pid")
        other.communicate(b"\n")


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("my diary")
    with pytest.raises(MachineError, match="holds something else"):
        pidfile.write(tmp_path / "pid")
    (tmp_path / "link").symlink_to(tmp_path / "pid")
    with pytest.raises(MachineError, match="can't be written"):
        pidfile.write(tmp_path / "link")
    assert (tmp_path / "pid").read_text() == "my diary"
