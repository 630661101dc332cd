"""The pid file: ours, a dead guardian's, a living one's, and somebody else's file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.daemon.linux import MachineError
from chancel.daemon.pidfile import PidFile

CLAIM = """
import sys, time
from pathlib import Path
from chancel.daemon.linux import MachineError
from chancel.daemon.pidfile import PidFile
try:
    pidfile = PidFile.claim(Path(sys.argv[1]))
    pidfile.write()
    print("mine", flush=True)
    input()
except MachineError as error:
    print(error, flush=True)
    input()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def other(path: Path) -> subprocess.Popen[str]:
    """Another program that claims the file, says how that went, and waits to be ended."""
    command = [sys.executable, "-c", CLAIM, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().rstrip()


def test_it_is_empty_until_the_tunnels_are_up_and_gone_at_the_end(path: Path) -> None:
    pidfile = PidFile.claim(path)
    assert path.read_bytes() == b""
    assert path.stat().st_mode & 0o777 == 0o400
    pidfile.write()
    assert path.read_text() == str(os.getpid())
    pidfile.remove()
    assert not path.exists()


@pytest.mark.parametrize(
    "content", ["", "4194305", str(os.getpid())], ids=["empty", "nobody", "somebody"]
)
def test_without_a_lock_it_is_stale_whatever_stands_in_it(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(content)
    pidfile = PidFile.claim(path)
    pidfile.write()
    assert path.read_text() == str(os.getpid())
    pidfile.remove()
    assert caplog.messages == [f"stale pid file taken over path={path} pid={content or 'none'}"]


def test_a_living_one_is_refused_and_one_that_was_killed_taken_over(path: Path) -> None:
    with other(path) as living:
        assert said(living) == "mine"
        with pytest.raises(MachineError, match=rf"already running as process {living.pid}$"):
            PidFile.claim(path)
        assert path.read_text() == str(living.pid)
        living.kill()
        living.wait()
        assert path.read_text() == str(living.pid)  # left behind
        PidFile.claim(path).remove()


def test_one_that_is_starting_is_refused(path: Path) -> None:
    starting = PidFile.claim(path)
    with pytest.raises(MachineError, match=r"another process is starting$"):
        PidFile.claim(path)
    starting.remove()


def test_one_of_many_has_it(path: Path) -> None:
    path.write_text("4194305")
    programs = [other(path) for _ in range(6)]
    try:
        outcomes = [said(program) for program in programs]
        assert outcomes.count("mine") == 1, outcomes
        winner = programs[outcomes.index("mine")]
        assert path.read_text() == str(winner.pid)
    finally:
        for program in programs:
            program.communicate("\n")


def test_the_reference_does_not_lock_its_file(path: Path) -> None:
    name = 'import ctypes; ctypes.CDLL(None).prctl(15, b"sanctum"); print("named", flush=True)'
    command = [sys.executable, "-c", f"{name}; input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reference:
        assert said(reference) == "named"
        path.write_text(str(reference.pid))
        with pytest.raises(MachineError, match=rf"already running as process {reference.pid}$"):
            PidFile.claim(path)
        reference.communicate("\n")
    PidFile.claim(path).remove()


def test_another_file_is_left_alone(tmp_path: Path, path: Path) -> None:
    path.write_text("my diary")
    with pytest.raises(MachineError, match="holds something else"):
        PidFile.claim(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(MachineError, match=r"can't be written: Too many levels of symbolic links"):
        PidFile.claim(tmp_path / "link")
    assert path.read_text() == "my diary"
    with pytest.raises(MachineError, match="can't be written: No such file or directory"):
        PidFile.claim(tmp_path / "nowhere" / "pid")


def test_a_file_that_somebody_put_in_place_of_ours_stays(path: Path) -> None:
    pidfile = PidFile.claim(path)
    path.unlink()
    path.write_text("4194305")
    pidfile.remove()
    assert path.exists()
