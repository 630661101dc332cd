"""A cathedral and a device with a KEK, each under the limits of its unit, without systemd."""

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

from chancel.daemon import places
from chancel.daemon.notify import READY, STOPPING
from chancel.demo.parish import Parish, Plan, Seat
from chancel.lab.lab import Lab
from tests.e2e.ends import END_LIMIT_S, PING, USER, eventually
from tests.e2e.test_systemd import PATIENCE_S, installed

PAGE = Path(__file__).parents[2] / "docs/operations.md"
CATHEDRAL, TUNNEL = "chancel-cathedral@.service", "chancel@.service"

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze: apt-get install systemd",
)


@pytest.fixture(scope="module")
def parish(lab: Lab, folder: Path) -> Parish:
    user = USER if places.is_machine_root() else None
    made = Parish(lab, folder, Plan(remembrance=True), user=user)
    for seat in made.seats:
        text = seat.config.read_text()
        seat.config.write_text(text.replace(f"control {seat.home}/", "control /run/"))
    return made


class Service:
    """A seat whose daemon was started by its unit."""

    def __init__(self, seat: Seat, unit: Path) -> None:
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = seat.home / "notify"
        path.unlink(missing_ok=True)
        self._heard.bind(str(path))
        self._heard.settimeout(PATIENCE_S)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "NOTIFY_SOCKET": str(path),
            "CHANCEL_RUNTIME_DIR": "/run/hymn",  # which root of a mere namespace doesn't have
        }
        with seat.log.open("ab") as log:
            self.program = seat.host.popen(
                [sys.executable, "-m", "tests.e2e.unit", str(unit), seat.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def hears(self) -> str:
        return self._heard.recv(100).decode()

    def stop(self) -> int:
        self.program.send_signal(signal.SIGTERM)
        assert self.hears() == STOPPING
        return self.program.wait(END_LIMIT_S)

    def close(self) -> None:
        self._heard.close()
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()


@contextlib.contextmanager
def started(seat: Seat, folder: Path, unit: str, drop_in: str = "") -> Iterator[Service]:
    """Start a seat by a unit, to which ``systemctl edit`` may have added something."""
    folder.mkdir()
    path = installed(unit, folder, seat.home)
    path.write_text(path.read_text().replace("/etc/cathedral", str(seat.home)) + drop_in)
    with contextlib.closing(Service(seat, path)) as service:
        yield service


def drop_in(home: Path) -> str:
    """That of the manual."""
    found = re.search(r"^```ini\n(\[Service\]\n.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert found is not None
    return found[1].replace("/etc/hymn/home.d", str(home))


def test_what_it_is_made_for(parish: Parish, tmp_path: Path) -> None:
    (cathedral,), (left, right) = parish.cathedrals, parish.devices
    with (
        started(cathedral, tmp_path / "c", CATHEDRAL) as serving,
        started(left, tmp_path / "l", TUNNEL, drop_in(left.home)) as one,
        started(right, tmp_path / "r", TUNNEL, drop_in(right.home)) as other,
    ):
        heard = [each.hears() for each in (serving, one, other)]
        assert heard == [READY] * 3, [each.log.read_text() for each in parish.seats]

        def carries() -> bool:
            found = left.host.call(PING, right.inner, 1, 0.0, 56, True, 1.0)
            return bool(found["received"])

        eventually(carries, PATIENCE_S, "the tunnel carries traffic")
        assert left.secret.read_bytes() == right.secret.read_bytes()
        assert len(left.remembrance.read_bytes()) == 192
        assert [each.stop() for each in (one, other, serving)] == [0] * 3


def test_a_device_that_may_not_write_its_secret_says_what_to_do(
    parish: Parish, tmp_path: Path
) -> None:
    left = parish.left
    with started(left, tmp_path / "l", TUNNEL) as service:
        assert service.program.wait(END_LIMIT_S) == 2
    assert "ReadWritePaths" in left.log.read_text()
