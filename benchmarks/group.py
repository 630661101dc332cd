"""What one tunnel's group costs: work from its start to the first packet, memory, idle wake-ups.

Two hosts of the lab joined by the kernel's own wire. Work is processor time, of all processes and
the interpreter's start included; time in which everybody waits is no work. Memory is proportional:
what several programs share of a library's file is divided by them. So it is that of a group alone,
after the other end has gone; other programs in Python still make it look smaller.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.result import Figure, Result, Target
from benchmarks.tunnel import CHANCEL, daemons, wait_up
from chancel.daemon import ctl
from chancel.lab.lab import Host, Lab

ROUNDS = 5
SETTLED_S, IDLE_S = 20.0, 30.0
"""Wake-ups are counted when discovery of the MTU and the first heartbeats are over."""

LANES = "/memfd:"
"""Lanes and boards, as their mappings are named."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")


def run() -> Iterator[Result]:
    """Medians of some rounds, each with a new group; wake-ups in one round of their own."""
    rounds = [measure() for _ in range(ROUNDS)]
    work, memory = zip(*rounds, strict=True)
    yield Figure("start to first packet: work", "s CPU", work, Target("≤", 1.0))
    yield Figure("memory of a group alone (PSS) without lanes", "MB", memory, Target("≤", 80.0))
    with running() as (_, control):
        time.sleep(SETTLED_S)
        yield Figure("wake-ups of an idle group", "per hour", [idle_wakeups(control)])


def measure() -> tuple[float, float]:
    """One round: work in seconds, memory in MB."""
    with running() as (host, control):
        group = ctl.ask(control, {"do": "status"})["group"]
        pids = [group["pid"], *group["processes"].values()]
        work = host.call("benchmarks.group:work_s", pids)
        ctl.stop(control.parent.parent / "left.run" / "left.ctl")
        return work, host.call("benchmarks.group:pss_mb", pids)


@contextlib.contextmanager
def running() -> Iterator[tuple[Host, Path]]:
    """A new lab with both ends; the host, and the control socket, of the one to be measured."""
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.veth(left, "192.168.201.1/24", right, "192.168.201.2/24")
        with daemons(CHANCEL, Path(folder), left, right):
            wait_up(left)
            yield right, Path(folder) / "right.run" / "right.ctl"


def work_s(pids: list[int]) -> float:
    """Processor time of these processes and of the children they have waited for, in seconds."""
    total = 0.0
    for pid in pids:
        # Field 16 and 17 of proc_pid_stat(5), in ticks; our own time is known more exactly.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[13:15])) / _TICKS_PER_S
        total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return total


def pss_mb(pids: list[int]) -> float:
    """Proportional memory of these processes together, lanes and boards left out, in MB."""
    total = 0
    for pid in pids:
        counts = True
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            if _MAPPING.match(line):
                counts = LANES not in line
            elif counts and line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def idle_wakeups(control: Path) -> float:
    """Of all processes of a group that carries nothing; asking wakes control, which is left out."""
    before = _wakeups(control)
    time.sleep(IDLE_S)
    return (_wakeups(control) - before) / IDLE_S * 3600


def _wakeups(control: Path) -> int:
    wakeups = ctl.ask(control, {"do": "status"})["group"]["wakeups"]
    return sum(each["count"] for name, each in wakeups.items() if name != "control")
