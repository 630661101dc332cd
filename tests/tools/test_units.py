"""The timer that rolls keys: as systemd reads it, and its command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.tools.ambry.reading import read

UNITS = Path(__file__).parents[2] / "packaging/systemd"
SERVICE, TIMER = "chancel-ambry-roll@.service", "chancel-ambry-roll@.timer"


def setting(unit: str, key: str) -> str:
    lines = (UNITS / unit).read_text().splitlines()
    (value,) = [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]
    return value


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze: apt-get install systemd",
)
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for unit in (SERVICE, TIMER):
        text = (UNITS / unit).read_text().replace("/usr/local/bin/chancel", "/bin/true")
        (tmp_path / unit).write_text(text)
    names = [str(tmp_path / unit).replace("@.", "@cafeba00.") for unit in (SERVICE, TIMER)]
    command = ["systemd-analyze", "verify", "--man=no", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_command_rolls_the_keys(root: Path) -> None:
    program, *words = setting(SERVICE, "ExecStart").replace("%i", "cafeba00").split()
    assert program == "/usr/local/bin/chancel"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "chancel.cli.main", *words],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert f"0x{read(root / 'cafeba00.ambry').header.generation:x}" in done.stdout


def test_the_keys_are_out_of_reach_of_the_network() -> None:
    assert setting(SERVICE, "PrivateNetwork") == "yes"
    assert setting(SERVICE, "WorkingDirectory") == f"/var/lib/{setting(SERVICE, 'StateDirectory')}"
    assert setting(TIMER, "Persistent") == "yes"
