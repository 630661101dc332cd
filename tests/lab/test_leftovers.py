"""Whatever happens to the process that made a lab, nothing of the lab stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chancel.lab.lab import Lab

SCRIPT = """
import os, subprocess, sys, time
from chancel.lab.lab import Lab
lab = Lab()
host = lab.host("a")
host.popen(["sh", "-c", "sleep 600 & echo $$ $!; wait"])
host.popen(["setsid", "sh", "-c", "trap '' TERM HUP INT; echo $$; while :; do sleep 600; done"])
print(lab.keeper_pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # whose parent has not looked yet


def wait_gone(pids: list[int]) -> list[int]:
    deadline = time.monotonic() + 10
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_survives_the_parent(end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids: list[int] = []
        while len(pids) < 4:
            pids += map(int, parent.stdout.readline().split())
        assert all(map(alive, pids))
        os.kill(parent.pid, end)
        parent.wait()
        assert wait_gone(pids) == []


def test_the_keeper_told_to_end_clears_the_lab(lab: Lab) -> None:
    program = lab.host("a").popen(["sleep", "600"])
    time.sleep(0.3)
    os.kill(lab.keeper_pid, signal.SIGTERM)
    assert program.wait(10) == -signal.SIGKILL
