"""What a command line asks of the daemon, and how it becomes one.

Reading a command line takes a library that all processes of a group would keep for ever, a sixth
of their memory. So whoever has read it replaces itself by a fresh interpreter (``python -m
chancel.daemon``) with the same process id, terminal and children.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn, Self

from chancel.daemon.sandbox_mode import Sandbox


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One group to run; ``files`` were checked. ``own_network``: its devices are in a cell.

    ``report`` is the descriptor of a link to whoever waits for the tunnels: it hears that they are
    up, with the cell's descriptors, or the sentence that says why not.
    """

    files: tuple[Path, ...]
    runtime_dir: Path
    detached: bool = False
    syslog: bool = False
    sandbox: Sandbox = Sandbox.ON
    own_network: bool = False
    report: int | None = None

    def start(self, program: str = "chancel.daemon") -> NoReturn:
        """Become the daemon, or another program for such jobs. Never returns; raises OSError."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self.report is not None:
            os.set_inheritable(self.report, True)
        # -P: nothing is imported from the directory that we happen to be in.
        command = [sys.executable, "-P", "-m", program, self.to_json()]
        os.execv(sys.executable, command)  # noqa: S606 - ourselves

    def to_json(self) -> str:
        """The job as it stands on the daemon's command line; nothing in it is secret."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of :meth:`to_json`."""
        fields: dict[str, Any] = json.loads(text)
        return cls(
            **fields
            | {
                "files": tuple(map(Path, fields["files"])),
                "runtime_dir": Path(fields["runtime_dir"]),
                "sandbox": Sandbox(fields["sandbox"]),
            }
        )
