"""What people get wrong: one line on standard error that says where, and nothing was created."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.lab.lab import Host, Lab
from tests.e2e.ends import PROGRAM, UP_LIMIT_S, End, eventually

FAILED, USAGE = 1, 2
TUNNEL = "tunnel 10.77.0.1/30 1400"
SECRET_LINE = 2


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("left")


@pytest.fixture(scope="module")
def end(host: Host, folder: Path) -> End:
    return End(host, "192.168.201.1", folder, bytes(range(32)))


@pytest.fixture(autouse=True)
def clean(end: End) -> Iterator[None]:
    """Nothing stays behind, whatever was wrong."""
    yield
    for path in end.home.glob("*.conf"):
        path.unlink()
    assert end.devices() == {"lo"}
    assert end.host.call("tests.e2e.inside:udp_ports") == []
    assert not end.runtime.exists() or not list(end.runtime.iterdir())
    assert not list(end.home.glob("*.pid"))


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(end: End, host: Host) -> Run:
    """``chancel run`` with these files, to its end."""

    def run(*files: Path) -> subprocess.CompletedProcess[str]:
        options = [word for path in files for word in ("-c", str(path))]
        return host.run([*PROGRAM, "run", "--runtime-dir", str(end.runtime), *options], 30.0)

    return run


def complaint(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line on standard error."""
    (line,) = done.stderr.splitlines()
    assert done.returncode == status, line
    return line


def missing(path: Path) -> None:
    path.unlink()


def readable(path: Path) -> None:
    path.chmod(0o644)


def link(path: Path) -> None:
    target = path.rename(path.with_suffix(".real"))
    path.symlink_to(target)


def short(path: Path) -> None:
    path.write_bytes(bytes(31))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (missing, "No such file or directory"),
        (readable, "is accessible by others (expected mode 0600: chmod 600 "),
        (link, "is a symbolic link"),
        (short, "has 31 bytes (expected at least 32)"),
    ],
    ids=["missing", "readable", "link", "short"],
)
def test_a_secret_that_is_none_is_refused_by_name(
    end: End, run: Run, spoil: Callable[[Path], None], problem: str
) -> None:
    spoiled = end.home / f"{spoil.__name__}-key"
    end.write_secret(spoiled, bytes(32))
    spoil(spoiled)
    path = end.configure("t0", TUNNEL)
    path.write_text(path.read_text().replace(str(end.secret), str(spoiled)))
    done = run(path)
    line = complaint(done, USAGE)
    assert line.startswith(f"chancel: {path}:{SECRET_LINE}: secret: '{spoiled}'")
    assert problem in line
    assert done.stdout == ""
    assert not end.runtime.exists()


@pytest.mark.parametrize(
    ("lines", "place", "problem"),
    [
        (["locale 0.0.0.0:1"], ":3", "unknown directive 'locale' (expected local?)"),
        (["tunnel 10.77.0.1/30 9000"], ":3: tunnel", "MTU '9000' is out of range"),
        ([TUNNEL, "liturgy_group 1"], ":4: liturgy_group", "is for liturgies"),
        ([TUNNEL, "peer 192.0.2.1"], ":4: peer", "'192.0.2.1' has no port"),
        ([], ": tunnel", "missing (expected tunnel ip/length MTU)"),
    ],
    ids=["unknown", "mtu", "liturgy", "peer", "no-tunnel"],
)
def test_a_wrong_line_is_named(
    end: End, run: Run, lines: list[str], place: str, problem: str
) -> None:
    path = end.configure("t0", *lines)
    done = run(path)
    assert complaint(done, USAGE).startswith(f"chancel: {path}{place}: {problem}")
    assert done.stdout == ""
    assert not end.runtime.exists()


def test_files_that_claim_the_same_are_refused(end: End, run: Run) -> None:
    first = end.configure("t0", TUNNEL, "local 127.0.0.1:2300")
    second = end.configure("t1", "tunnel 10.77.1.1/30 1400", "local 127.0.0.1:2301")
    second.write_text(second.read_text().replace("instance t1", "instance t0"))
    line = complaint(run(first, second), USAGE)
    assert line.startswith(f"chancel: {second}:1: instance: 't0' is taken by {first}:1")


def test_what_the_machine_refuses_is_named_and_undone(end: End, run: Run) -> None:
    """A port in use and a device that exists; what was made before it goes away again."""
    good = end.configure("t0", TUNNEL, "local 127.0.0.1:2300", f"pidfile {end.home}/t0.pid")
    end.start(good)
    eventually(lambda: bool(end.tunnels()), UP_LIMIT_S, "the good one runs")
    busy = end.configure("t1", "tunnel 10.77.1.1/30 1400", "local 127.0.0.1:2300")
    device = end.configure("lo", "tunnel 10.77.2.1/30 1400", f"pidfile {end.home}/lo.pid")
    try:
        for path, problem in (
            (busy, "local 127.0.0.1:2300 is in use by another program"),
            (device, "network device lo already exists"),
            (good, "t0 is already running"),
        ):
            line = complaint(run(path), FAILED)
            assert line.startswith(f"chancel: {path}: {problem}")
            assert end.devices() == {"lo", "t0"}
            there = {each.name for each in end.runtime.iterdir()}
            assert there == {"t0.ctl", "t0.metrics", "t0.peers"}
            assert not (end.home / "lo.pid").exists()
    finally:
        assert end.stop() == 0
