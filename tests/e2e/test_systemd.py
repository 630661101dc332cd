"""The units: as systemd reads them, and their command under their limits, without systemd."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon.notify import READY, STOPPING
from tests.e2e.ends import END_LIMIT_S, PROGRAM, End, Pair, eventually
from tests.e2e.unit import read, words

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "packaging/systemd"
SYSTEM_UNITS = ["chancel.service", "chancel@.service"]

STATUS_OF_A_WRONG_FILE = 2
PATIENCE_S = 30.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze: apt-get install systemd",
)


def installed(unit: str, folder: Path, configuration: Path = Path("/etc/hymn")) -> Path:
    """A copy of the unit for this very program, and for files elsewhere."""
    program = folder / "chancel"
    program.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    text = (UNITS / unit).read_text().replace("/usr/local/bin/chancel", str(program))
    path = folder / unit
    path.write_text(text.replace("/etc/hymn", str(configuration)))
    return path


@needs_systemd
@pytest.mark.parametrize("unit", SYSTEM_UNITS)
def test_systemd_finds_nothing_wrong(unit: str, tmp_path: Path) -> None:
    path = installed(unit, tmp_path)
    command = ["systemd-analyze", "verify", "--man=no", str(path).replace("@.", "@home.")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_finds_nothing_wrong_with_a_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    text = (UNITS / "user/chancel@.service").read_text()
    (tmp_path / "chancel@.service").write_text(text.replace("/usr/local/bin/chancel", "/bin/true"))
    unit = str(tmp_path / "chancel@home.service")
    command = ["systemd-analyze", "--user", "verify", "--man=no", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_they_start_what_the_manual_installs() -> None:
    manual = (ROOT / "docs/operations.md").read_text()
    installed = re.findall(r"^sudo ln -s \S+/bin/chancel (\S+)$", manual, re.MULTILINE)
    units = sorted(UNITS.rglob("*.service"))
    assert len(units) == 5
    assert [words(read(unit), "ExecStart")[0] for unit in units] == installed * len(units)


def test_one_tunnel_has_the_limits_of_a_group() -> None:
    group, one = (read(UNITS / name) for name in SYSTEM_UNITS)
    assert {key for key in group | one if group[key] != one[key]} == {"Description", "ExecStart"}


class Service:
    """The left end of a pair, run as systemd would; ``said`` is what it notified."""

    def __init__(self, end: End, unit: Path) -> None:
        self.end = end
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = end.home / "notify"
        self._path.unlink(missing_ok=True)
        self._notified.bind(str(self._path))
        self._notified.settimeout(PATIENCE_S)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "NOTIFY_SOCKET": str(self._path),
            "CHANCEL_RUNTIME_DIR": "/run/hymn",  # which root of a mere namespace doesn't have
        }
        with end.log.open("ab") as log:
            self.program = end.host.popen(
                [sys.executable, "-m", "tests.e2e.unit", str(unit), "t0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        end.program = self.program

    def hears(self) -> str:
        return self._notified.recv(100).decode()

    def close(self) -> None:
        self._notified.close()
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()


@pytest.fixture(scope="module")
def configured(pair: Pair) -> Pair:
    """Both ends of one tunnel; the left one has a socket for the tools of the reference too."""
    name = pair.configure(0, "auto")
    with (pair.left.home / f"{name}.conf").open("a") as file:
        file.write(f"control /run/status {'nobody' if pair.left.users else 'root'}\n")
    return pair


@pytest.fixture(params=SYSTEM_UNITS)
def service(request: pytest.FixtureRequest, configured: Pair, tmp_path: Path) -> Iterator[Service]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    pair = configured
    service = Service(pair.left, installed(request.param, tmp_path, pair.left.home))
    with contextlib.closing(service):
        yield service


@pytest.fixture(scope="module")
def peer(configured: Pair) -> Iterator[End]:
    configured.right.start()
    yield configured.right
    assert configured.right.stop() == 0


def test_its_command_carries_traffic_under_its_limits(service: Service, peer: End) -> None:
    assert service.hears() == READY
    eventually(lambda: peer.ping("10.77.0.1", 3) == 3, PATIENCE_S, "the tunnel carries traffic")
    service.program.send_signal(signal.SIGTERM)
    assert service.hears() == STOPPING
    assert service.program.wait(END_LIMIT_S) == 0
    assert service.end.devices() == {"lo", "eth0"}


def test_a_crash_is_a_failure_after_which_it_is_started_again(service: Service) -> None:
    assert service.hears() == READY
    children = Path(f"/proc/{service.program.pid}/task/{service.program.pid}/children")
    os.kill(int(children.read_text().split()[2]), signal.SIGKILL)
    assert service.program.wait(END_LIMIT_S) == 1
    assert service.end.devices() == {"lo", "eth0"}


def test_a_wrong_file_is_not_tried_again(tmp_path: Path) -> None:
    for unit in SYSTEM_UNITS:
        assert words(read(UNITS / unit), "RestartPreventExitStatus") == [
            str(STATUS_OF_A_WRONG_FILE)
        ]
    (tmp_path / "t0.conf").write_text("nonsense\n")
    command = [*PROGRAM, "run", "-c", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == STATUS_OF_A_WRONG_FILE
    assert done.stderr.startswith(f"chancel: {tmp_path}/t0.conf:1: malformed line 'nonsense'")
