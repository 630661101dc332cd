"""A cathedral under test: ``chancel run`` without its command line."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chancel.cathedrald import guardian
from chancel.cathedrald.config import ServerConfig
from chancel.daemon import ctl, linux
from chancel.daemon.child import Make
from chancel.daemon.sandbox_mode import Sandbox
from tests.daemon.running import LIMIT_S, alive, print_to

Makers = dict[str, Make]
DUTIES: Makers = guardian.load_duties()


class RunningCathedral:
    """A cathedral in a process of its own."""

    def __init__(
        self,
        config: ServerConfig,
        folder: Path,
        makers: Makers = DUTIES,
        confinement: Sandbox = Sandbox.ON,
    ) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.pid = os.fork()
        if self.pid == 0:
            self._be_guardian(config, makers, confinement)
        self.wait_for(lambda: "chancel started" in self.log())
        self.processes: dict[str, int] = self.status()["group"]["processes"]

    def _be_guardian(self, config: ServerConfig, makers: Makers, confinement: Sandbox) -> None:
        status = 77
        try:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            print_to(self.output)
            status = guardian.serve(config, self.folder, makers, confinement=confinement)
        except BaseException as error:  # noqa: BLE001 - told by the log
            print(repr(error), flush=True)
        finally:
            os._exit(status)

    def log(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds, and no longer than the cathedral lives."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.log()
            assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.log()
            time.sleep(0.01)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return ctl.ask(self.folder / "nave.ctl", request)

    def status(self) -> dict[str, Any]:
        return self.ask({"do": "status"})

    def cathedral(self) -> dict[str, Any]:
        """Its part of the status."""
        (found,) = self.status()["cathedrals"]
        return dict(found)

    def wait(self) -> int:
        """The exit status; all processes are gone by then."""
        _pid, status = os.waitpid(self.pid, 0)
        assert not any(alive(pid) for pid in self.processes.values()), self.log()
        return os.waitstatus_to_exitcode(status)

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()
