"""A whole group that logs to syslog, after each process has given up what it could."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from pathlib import Path

from chancel.daemon import linux, logs
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.duties import control
from chancel.daemon.process import Process
from chancel.daemon.settings import TunnelSettings
from tests.daemon.network import InNetwork
from tests.daemon.running import Running, eventually, text

DUTIES = PROCESSES[Mode.TUNNEL]


class Talker:
    """A duty that says what it does."""

    def __init__(self, process: Process) -> None:
        self._name = process.name

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        logging.getLogger("chancel.daemon").info("heard of %s", settings.instance)

    def remove(self, tunnel: int) -> None:
        pass

    def wake_at(self) -> float | None:
        return None

    def wake(self, now: float) -> None:
        pass


def listen(path: Path, output: Path) -> int:
    """Be a syslog daemon that writes to a file, in a process of its own; returns its pid."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path.unlink(missing_ok=True)
    listening.bind(str(path))
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        while True:
            with output.open("ab") as file:
                file.write(listening.recv(8192) + b"\n")
    listening.close()
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_all_processes_are_heard_also_by_a_second_daemon(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        first = listen(tmp / "log", tmp / "output")
        logs.to_syslog(tmp / "log")
        makers = dict.fromkeys(DUTIES, Talker) | {"control": control.make}
        running = Running(tmp, text(tmp, 1), makers=makers)
        pids = {name: pid for name, pid in running.processes.items() if name != "control"}

        def hears(instance: str) -> bool:
            return all(
                re.search(rf"<30>.* chancel-{name}\[{pid}\]: heard of {instance}\n", running.log())
                for name, pid in pids.items()
            )

        eventually(lambda: hears("dm1"))
        assert re.search(rf"<30>.* chancel\[{running.pid}\]: chancel started", running.log())

        end(first)
        second = listen(tmp / "log", tmp / "output")
        running.add(text(tmp, 2))  # the guardian has looked by the time it adds
        eventually(lambda: hears("dm2"))

        end(second)
        assert running.ask({"do": "remove", "instance": "dm2"}) == {"ok": True}
        assert running.stop() == 0

    in_network(test)
