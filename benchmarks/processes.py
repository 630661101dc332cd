"""What processes cost, whosever they are: processor time, memory, how often they were woken.

All functions take the numbers of processes, and read what the kernel tells of them and of each of
their threads. What belongs to other users is read in the host of the lab where they run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LANES = ("/memfd:", "/SYSV")
"""Memory that processes hand packets over in, as its mappings are named: ours, the reference's."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
_EVENT = "raw_syscalls:sys_enter"


class Memory(NamedTuple):
    """Proportional memory, MB: what several programs share is divided by them."""

    own: float
    lanes: float


def tree(pid: int) -> list[int]:
    """A process, its children, and theirs."""
    found = [pid]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def in_this_host() -> list[int]:
    """All processes in the network namespace of the caller, and their trees; without the caller."""
    here = _link(Path("/proc/self/ns/net"))
    found: dict[int, None] = {}
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        pid = int(path.parts[2])
        if pid != os.getpid() and _link(path) == here:
            found |= dict.fromkeys(tree(pid))
    return list(found)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it has ended, or is somebody else's
        return ""


def work_s(pids: Iterable[int]) -> float:
    """Processor time of all their threads so far, user and kernel, in seconds."""
    runs = (thread.joinpath("schedstat").read_text().split()[0] for thread in _threads(pids))
    return sum(int(nanoseconds) for nanoseconds in runs) / 1e9


def work_with_children_s(pids: Iterable[int]) -> float:
    """The same with that of children which have ended, and were waited for."""
    chosen = list(pids)
    total = work_s(chosen)
    for pid in chosen:
        # Field 16 and 17 of proc_pid_stat(5), in ticks; our own time is known more exactly.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[13:15])) / _TICKS_PER_S
    return total


def wakeups(pids: Iterable[int]) -> int:
    """How often any of their threads slept of its own will, and so was woken."""
    return sum(
        int(line.split()[1])
        for thread in _threads(pids)
        for line in thread.joinpath("status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches:")
    )


def _threads(pids: Iterable[int]) -> Iterator[Path]:
    for pid in pids:
        yield from Path(f"/proc/{pid}/task").iterdir()


def memory_mb(pids: list[int]) -> Memory:
    """Proportional memory of these processes together."""
    own = lanes = 0
    for pid in pids:
        in_lane = False
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            if _MAPPING.match(line):
                in_lane = any(name in line for name in LANES)
            elif line.startswith("Pss:"):
                size = int(line.split()[1])
                own, lanes = (own, lanes + size) if in_lane else (own + size, lanes)
    return Memory(own / 1024, lanes / 1024)


class Calls:
    """Counts the system calls of processes from now on, with ``perf``, which hardly slows them."""

    @staticmethod
    def missing() -> str | None:
        """What it would take, if they can't be counted here."""
        perf = shutil.which("perf")
        if perf is None:
            return "needs perf"
        probe = subprocess.run(  # noqa: S603 - our own words
            [perf, "stat", "-x,", "-e", _EVENT, "--", "true"], capture_output=True, check=False
        )
        return None if probe.returncode == 0 else "perf may not count system calls here"

    def __init__(self, pids: Iterable[int]) -> None:
        perf = shutil.which("perf") or "perf"
        listed = ",".join(map(str, pids))
        self._perf = subprocess.Popen(  # noqa: S603 - our own words
            [perf, "stat", "-x,", "-e", _EVENT, "-p", listed],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> int:
        """How many there were. Raises RuntimeError if perf could not say."""
        self._perf.send_signal(signal.SIGINT)
        said = self._perf.communicate(timeout=10)[1]
        for line in said.splitlines():
            if _EVENT in line:
                count = line.split(",")[0]
                return int(count) if count.isdigit() else 0
        raise RuntimeError(f"perf told no system calls: {said.strip()}")
