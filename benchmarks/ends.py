"""Two hosts, joined by the kernel's own wire, with one program's tunnels between them.

Everything is on this machine: both ends and the load share its cores.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import processes
from benchmarks.vpns import Vpn, check
from chancel.lab.lab import Host, Lab

UP_LIMIT_S = 180.0
"""Generous: 128 tunnels on a machine with much other work take a minute."""

LOOK_INTERVAL_S = 0.02
END_LIMIT_S = 20.0
SETTLED_S = 1.0
LOG_TAIL_CHARACTERS = 2000


class Side(NamedTuple):
    """One end as the load sees it: where programs run, and its address in the tunnel."""

    host: Host
    address: str


class Ends(NamedTuple):
    """Two ends of a tunnel that carries packets, and the processes whose work counts."""

    left: Side
    right: Side
    pids: list[int]

    def turned(self) -> Ends:
        """The other way round."""
        return Ends(self.right, self.left, self.pids)


class Running:
    """One program's tunnels, from ``with`` on; all of them, or the first one, have answered."""

    def __init__(self, vpn: Vpn, folder: Path, lab: Lab, tunnels: int) -> None:
        self.folder = folder
        left, right = lab.host("left"), lab.host("right")
        lab.veth(left, "192.168.201.1/24", right, "192.168.201.2/24")
        self._hosts = left, right
        self._tunnels = tunnels
        vpn.prepare(folder, tunnels)
        answers = [
            left.start("benchmarks.loads.echo:first_answer", f"10.77.{number}.2", UP_LIMIT_S)
            for number in _first_and_last(tunnels)
        ]
        for answer in answers:
            next(answer.progress)
        started = time.monotonic()
        # First the one that is asked: else who asks meets nobody, and waits before it asks again.
        answering = vpn.start(folder, right, 2)
        self._daemons = [vpn.start(folder, left, 1), answering]
        while any(answer.program.poll() is None for answer in answers) and not self._ended():
            time.sleep(LOOK_INTERVAL_S)
        came = [] if self._ended() else [answer.result() for answer in answers]
        if not came or None in came:
            raise RuntimeError(f"{vpn.name}: the tunnel did not come up\n{self._logs()}")
        self.first_answer_s = max(came) - started
        self.right_pids = self._pids(1)
        self.ends = self.tunnel(0)

    def tunnel(self, number: int) -> Ends:
        """The ends of one of the tunnels."""
        left, right = self._hosts
        pids = [*self._pids(0), *self.right_pids]
        return Ends(Side(left, f"10.77.{number}.1"), Side(right, f"10.77.{number}.2"), pids)

    def memory_alone(self) -> processes.Memory:
        """That of the right end, after the left one has been stopped, which would share some."""
        self._stop(0)
        own, lanes = self._hosts[1].call("benchmarks.processes:memory_mb", self.right_pids)
        return processes.Memory(own, lanes)

    def stop(self) -> None:
        """Stop both ends. Raises RuntimeError with the logs if one had ended of itself."""
        ended = self._ended()
        for side in (0, 1):
            self._stop(side)
        if ended:
            raise RuntimeError(f"a daemon ended in the middle\n{self._logs()}")

    def _ended(self) -> bool:
        return any(each.poll() is not None for daemons in self._daemons for each in daemons)

    def _pids(self, side: int) -> list[int]:
        return [pid for daemon in self._daemons[side] for pid in processes.tree(daemon.pid)]

    def _stop(self, side: int) -> None:
        daemons, self._daemons[side] = self._daemons[side], []
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(END_LIMIT_S)

    def _logs(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] for log in logs)


def _first_and_last(tunnels: int) -> list[int]:
    return sorted({0, tunnels - 1})


@contextlib.contextmanager
def running(vpn: Vpn, tunnels: int = 1) -> Iterator[Running]:
    """A new lab with both ends of a program."""
    with tempfile.TemporaryDirectory(prefix="chancel-bench-") as folder, Lab() as lab:
        tunnel = Running(vpn, Path(folder), lab, tunnels)
        check(vpn, tunnel.folder)
        time.sleep(SETTLED_S)
        yield tunnel
        tunnel.stop()
