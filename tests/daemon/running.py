"""A group of processes under test: ``chancel run`` without its command line."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chancel.daemon import config, ctl, guardian, linux
from chancel.daemon.sandbox_mode import Sandbox

LIMIT_S = 60.0
"""Machines that run tests may pause for many seconds."""

Makers = dict[str, Any]


def text(tmp: Path, number: int, *lines: str) -> str:
    secret = tmp / "secret"
    if not secret.exists():
        secret.write_bytes(os.urandom(32))
        secret.chmod(0o400)
    return "\n".join(
        [
            f"instance dm{number}",
            f"secret {secret}",
            f"tunnel 10.77.{number}.1/30 1400",
            f"local 127.0.0.1:{7000 + number}",
            *lines,
        ]
    )


class Running:
    """A group in a process of its own, as ``chancel run`` is one."""

    def __init__(
        self, tmp: Path, *texts: str, makers: Makers, confinement: Sandbox = Sandbox.ON
    ) -> None:
        self.dir = tmp
        self.confinement = confinement
        self.output = tmp / "output"
        self.output.unlink(missing_ok=True)
        configs = [config.parse(each, f"{n}.conf") for n, each in enumerate(texts)]
        self.pid = os.fork()
        if self.pid == 0:
            self._be_guardian(configs, makers)
        deadline = time.monotonic() + LIMIT_S
        while "chancel started" not in self.log():
            assert time.monotonic() < deadline, self.log()
            assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.log()
            time.sleep(0.01)
        self.processes: dict[str, int] = self.ask({"do": "status"})["group"]["processes"]

    def _be_guardian(self, configs: list[config.TunnelConfig], makers: dict[str, Any]) -> None:
        status = 77
        try:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            print_to(self.output)
            status = guardian.serve(configs, self.dir, makers, confinement=self.confinement)
        except BaseException as error:  # noqa: BLE001 - told by the log
            print(repr(error), flush=True)
        finally:
            os._exit(status)

    def log(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def ask(self, request: dict[str, Any], *fds: int) -> dict[str, Any]:
        socket_path = next(iter(sorted(self.dir.glob("*.ctl"))))
        return ctl.ask(socket_path, request, fds)

    def instances(self) -> list[str]:
        return [tunnel["instance"] for tunnel in self.ask({"do": "status"})["tunnels"]]

    def add(self, content: str) -> dict[str, Any]:
        path = self.dir / "added.conf"
        path.write_text(content)
        with path.open("rb") as file:
            return self.ask({"do": "add", "name": "added.conf"}, file.fileno())

    def wait(self) -> int:
        """The guardian's exit status; all its children are gone by then."""
        _pid, status = os.waitpid(self.pid, 0)
        assert not any(alive(pid) for pid in self.processes.values()), self.log()
        return os.waitstatus_to_exitcode(status)

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()


def print_to(path: Path) -> None:
    """Send standard output there, in place of what pytest put before it."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    sys.stdout = os.fdopen(1, "w", closefd=False)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
