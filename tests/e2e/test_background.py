"""``chancel run -d``: when it returns, the tunnels are there; or they aren't, and it says why."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.lab.lab import Host, Lab
from tests.e2e.ends import END_LIMIT_S, PROGRAM, End, eventually, is_alive

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("left")


@pytest.fixture(scope="module")
def end(host: Host, folder: Path) -> End:
    return End(host, "192.168.201.1", folder, bytes(range(32)))


@pytest.fixture(autouse=True)
def clean(end: End) -> Iterator[None]:
    yield
    for path in end.home.glob("*.conf"):
        path.unlink()
    assert end.devices() == {"lo"}
    assert not list(end.home.glob("*.pid"))


def detach(end: End, host: Host, *files: Path) -> subprocess.CompletedProcess[str]:
    """``chancel run -d``. Both streams were read to their end: the daemon doesn't hold them."""
    options = [word for path in files for word in ("-c", str(path))]
    command = [*PROGRAM, "run", "-d", "--runtime-dir", str(end.runtime), *options]
    return host.run(command, LIMIT_S)


def test_it_returns_when_the_tunnels_are_up(end: End, host: Host) -> None:
    pidfile = end.home / "t0.pid"
    first = end.configure("t0", "tunnel 10.77.0.1/30 1400", f"pidfile {pidfile}")
    second = end.configure("t1", "tunnel 10.77.1.1/30 1400")
    done = detach(end, host, first, second)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert set(end.tunnels()) == {"t0", "t1"}
    processes = end.processes()
    assert pidfile.read_text() == str(processes["guardian"])
    for pid in processes.values():
        assert os.getsid(pid) == processes["guardian"]

    again = detach(end, host, first)
    assert again.returncode == 1
    assert "t0 is already running" in again.stderr

    os.kill(processes["guardian"], signal.SIGTERM)
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )
    assert list(end.runtime.iterdir()) == []


def test_a_start_that_fails_says_so_and_leaves_nothing(end: End, host: Host) -> None:
    good = end.configure("t0", "tunnel 10.77.0.1/30 1400", f"pidfile {end.home}/t0.pid")
    bad = end.configure("lo", "tunnel 10.77.1.1/30 1400")
    done = detach(end, host, good, bad)
    assert done.returncode == 1
    assert "chancel: " in done.stderr.splitlines()[-1]
    assert f"{bad}: network device lo already exists" in done.stderr
    assert not end.runtime.exists() or not list(end.runtime.iterdir())

    bad.write_text("locale 0.0.0.0:1\n")
    done = detach(end, host, good, bad)
    assert done.returncode == 2
    assert done.stderr.startswith(f"chancel: {bad}:1: unknown directive 'locale'")


def test_it_can_be_started_without_any_stream(end: End, host: Host) -> None:
    path = end.configure("t0", "tunnel 10.77.0.1/30 1400")
    command = [*PROGRAM, "run", "-d", "--runtime-dir", str(end.runtime), "-c", str(path)]
    done = host.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], LIMIT_S)
    assert done.returncode == 0
    processes = end.processes()
    for pid in processes.values():
        standard = {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1, 2)}
        assert standard == {"/dev/null"}
    os.kill(processes["guardian"], signal.SIGTERM)
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )


def test_the_foreground_can_do_without_an_output(end: End, host: Host) -> None:
    path = end.configure("t0", "tunnel 10.77.0.1/30 1400")
    command = [*PROGRAM, "run", "--runtime-dir", str(end.runtime), "-c", str(path)]
    program = host.popen(["sh", "-c", 'exec "$@" >&-', "sh", *command])
    eventually(lambda: "t0" in end.tunnels(), LIMIT_S, "the tunnel is there")
    program.send_signal(signal.SIGTERM)
    assert program.wait(LIMIT_S) == 0


def test_where_the_log_goes(end: End, host: Host) -> None:
    path = end.configure("t0", "tunnel 10.77.0.1/30 1400")
    options = ["run", "-d", "--log", "stdout", "--runtime-dir", str(end.runtime), "-c", str(path)]
    done = host.run([*PROGRAM, *options], LIMIT_S)
    assert done.returncode == 2
    assert done.stderr == "chancel: --log: stdout can't be had with -d (expected syslog)\n"
