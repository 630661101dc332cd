"""The unit of a cathedral: as systemd reads it, and beside that of a tunnel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.unit import read, words

UNITS = Path(__file__).parents[2] / "packaging/systemd"
UNIT = "chancel-cathedral@.service"


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze: apt-get install systemd",
)
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    text = (UNITS / UNIT).read_text().replace("/usr/local/bin/chancel", "/bin/true")
    path = tmp_path / UNIT.replace("@.", "@nave.")
    path.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_starts_what_the_page_installs() -> None:
    assert words(read(UNITS / UNIT), "ExecStart") == [
        *("/usr/local/bin/chancel", "run"),
        *("-c", "/etc/cathedral/%i.conf"),
    ]


def test_it_may_no_more_than_a_tunnel() -> None:
    ours, tunnels = read(UNITS / UNIT), read(UNITS / "chancel@.service")
    assert set(words(ours, "CapabilityBoundingSet")) < set(words(tunnels, "CapabilityBoundingSet"))
    families = "RestrictAddressFamilies"
    assert set(words(ours, families)) < set(words(tunnels, families))
    assert set(tunnels) - set(ours) == {"DeviceAllow"}
