"""Going into the background: what whoever started the daemon sees of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.daemon.running import LIMIT_S, alive, eventually

LEAD = (
    "import os, signal, sys; from chancel import console; from chancel.daemon import background\n"
    "console.open_standard(); up = background.detach()\n"
)


def start(code: str, cwd: Path) -> subprocess.Popen[str]:
    """A program that goes into the background and then runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", LEAD + textwrap.dedent(code)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(code: str, cwd: Path) -> tuple[int, str, str]:
    """Status, output and complaints of the starting process; both streams were read to their end,
    so nobody holds them any more."""
    with start(code, cwd) as starter:
        out, err = starter.communicate(timeout=LIMIT_S)
        return starter.returncode, out, err


def descriptors(pid: int) -> dict[str, str]:
    found = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[fd.name] = str(fd.readlink())
    return found


def test_the_starter_leaves_when_the_tunnels_are_up(tmp_path: Path) -> None:
    code = """
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        up()
        signal.pause()
    """
    assert outcome(code, tmp_path) == (0, "", "")
    daemon = int((tmp_path / "pid").read_text())  # relative: the directory was kept
    try:
        assert os.getsid(daemon) == daemon != os.getsid(0)
        # The starter hears that all is up a moment before the pipe is closed.
        eventually(lambda: descriptors(daemon) == dict.fromkeys("012", "/dev/null"))
    finally:
        os.kill(daemon, signal.SIGKILL)
    eventually(lambda: not alive(daemon))


def test_what_goes_wrong_before_is_told(tmp_path: Path) -> None:
    code = 'print("chancel: no luck", file=sys.stderr); sys.exit(2)'
    assert outcome(code, tmp_path) == (2, "", "chancel: no luck\n")


def test_a_warning_does_not_hold_the_start_up(tmp_path: Path) -> None:
    code = 'print("mind the gap", file=sys.stderr); up(); print("unheard", file=sys.stderr)'
    assert outcome(code, tmp_path) == (0, "", "mind the gap\n")


@pytest.mark.parametrize(
    ("end", "reason"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "by signal 9"), ("sys.exit(0)", "by request")],
)
def test_a_daemon_that_ends_early_is_a_failure(tmp_path: Path, end: str, reason: str) -> None:
    assert outcome(end, tmp_path) == (1, "", f"chancel: ended while it started, {reason}\n")


def test_an_impatient_user_ends_both(tmp_path: Path) -> None:
    code = 'with open("pid", "w") as file: file.write(str(os.getpid()))\nsignal.pause()'
    with start(code, tmp_path) as starter:
        eventually(lambda: (tmp_path / "pid").exists() and is_waiting(starter.pid))
        starter.send_signal(signal.SIGINT)
        _, err = starter.communicate(timeout=LIMIT_S)
    assert starter.returncode == 1
    assert err == "chancel: interrupted\n"
    assert not alive(int((tmp_path / "pid").read_text()))


def is_waiting(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_a_starter_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    code = """
        os.kill(os.getppid(), signal.SIGKILL)
        while os.getppid() == int(os.environ["STARTER"]):
            pass
        up()
        open("survived", "w").close()
    """
    lead = 'import os; os.environ["STARTER"] = str(os.getpid())\n'
    command = [sys.executable, "-c", lead + LEAD + textwrap.dedent(code)]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == -signal.SIGKILL
    eventually((tmp_path / "survived").exists)


def test_a_daemon_without_standard_streams(tmp_path: Path) -> None:
    code = 'up(); open("null", "w").write(os.readlink("/proc/self/fd/0"))'
    command = ["sh", "-c", 'exec "$0" -c "$1" 0<&- 1>&- 2>&-', sys.executable, LEAD + code]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    eventually(lambda: (tmp_path / "null").exists() and bool((tmp_path / "null").read_text()))
    assert (tmp_path / "null").read_text() == "/dev/null"
