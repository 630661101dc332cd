"""Two ends of some tunnels: hosts, files, and the group of processes that runs at each of them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from chancel.daemon import ctl, places
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN
from chancel.errors import LinkClosed
from chancel.lab.lab import Host, Task

PROGRAM = (sys.executable, "-m", "chancel.cli.main")
USER = "nobody"
"""Whom all processes become when the real root runs the tests."""

UP_LIMIT_S = 60.0
END_LIMIT_S = 3.0
"""A group that lost a process, or was told to stop, is gone after this time."""

PING = "chancel.lab.ping:ping"

STARTED: list[End] = []
"""Ends whose logs a failing test shows."""


def eventually(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Poll until the condition holds; AssertionError after ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


class Machine(Protocol):
    """Where programs run: a host of the lab, or whatever does the same."""

    name: str

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program."""

    def start(self, target: str, *arguments: Any) -> Task:
        """Start a Python function in a process of its own."""

    def call(self, target: str, *arguments: Any) -> Any:
        """Run it to its end."""


def default_users() -> dict[str, str]:
    """Who each process becomes: as root of a mere user namespace there is nobody else."""
    return dict.fromkeys(PROCESSES[Mode.TUNNEL], USER) if places.is_machine_root() else {}


class End:
    """One end: a machine, its address outside, and a folder with its files.

    ``users`` are those of the ``run`` lines.
    """

    def __init__(
        self,
        host: Machine,
        outer: str,
        folder: Path,
        secret: bytes,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.outer = outer
        self.users = default_users() if users is None else users
        self.home = folder / host.name
        self.home.mkdir(mode=0o711)
        self.secret = self.home / "key"
        self.write_secret(self.secret, secret)
        self.log = self.home / "log"
        self.runtime = self.home / "run"
        self.program: subprocess.Popen[bytes] | None = None
        self.command: tuple[str, ...] = (*PROGRAM, "run")
        """What runs a group; the files and ``--runtime-dir`` follow."""
        STARTED.append(self)

    def write_secret(self, path: Path, secret: bytes) -> None:
        """A file that chapel, and nobody else, can read."""
        path.touch(mode=0o600)
        path.write_bytes(secret)
        if "chapel" in self.users:
            shutil.chown(path, self.users["chapel"])

    def configure(self, instance: str, *lines: str) -> Path:
        """Write the file of one tunnel: ``lines``, and what every tunnel here needs."""
        path = self.home / f"{instance}.conf"
        text = [f"instance {instance}", f"secret {self.secret}", *lines]
        text += [f"run {duty} as {user}" for duty, user in self.users.items()]
        path.write_text("\n".join(text) + "\n")
        return path

    def start(self, *files: Path) -> None:
        """Start one group for these files, or for all that were written."""
        chosen = files or sorted(self.home.glob("*.conf"))
        command = [*self.command, "--runtime-dir", str(self.runtime)]
        for path in chosen:
            command += ["-c", str(path)]
        with self.log.open("ab") as log:
            self.program = self.host.popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the guardian a signal; the exit status."""
        assert self.program is not None
        self.program.send_signal(number)
        return self.wait_ended()

    def wait_ended(self) -> int:
        """Wait for the guardian's end; its exit status."""
        assert self.program is not None
        return self.program.wait(END_LIMIT_S)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the group on any of its sockets. Raises LinkClosed while nobody answers."""
        for path in sorted(self.runtime.glob("*.ctl")):
            with contextlib.suppress(LinkClosed):
                return ctl.ask(path, request)
        raise LinkClosed(f"no group at {self.host.name}")

    def control(self) -> Path:
        """A control socket of the group."""
        return next(iter(sorted(self.runtime.glob("*.ctl"))))

    def tunnels(self) -> dict[str, dict[str, Any]]:
        """The status of each tunnel; none while nobody answers."""
        with contextlib.suppress(LinkClosed):
            return {each["instance"]: each for each in self.ask({"do": "status"})["tunnels"]}
        return {}

    def tunnel(self, instance: str) -> dict[str, Any]:
        """The status of one tunnel."""
        return self.tunnels()[instance]

    def drops(self, instance: str) -> dict[str, int]:
        """Drops of one tunnel by reason."""
        drops: dict[str, int] = self.tunnel(instance)["drops"]
        return drops

    def processes(self) -> dict[str, int]:
        """The pid of every process of the group, by duty."""
        group = self.ask({"do": "status"})["group"]
        return {**group["processes"], GUARDIAN: group["pid"]}

    def has_ended(self) -> bool:
        """Whether the guardian is gone."""
        assert self.program is not None
        return self.program.poll() is not None

    def is_up(self) -> bool:
        """Whether all tunnels have keys both ways and have heard their peer."""
        assert not self.has_ended(), "the group has ended"
        tunnels = self.tunnels().values()
        return bool(tunnels) and all(
            each["tx"]["spi"] and each["rx"]["spi"] and each["rx"]["packets"] for each in tunnels
        )

    def wait_up(self, limit_s: float = UP_LIMIT_S) -> None:
        """Wait until all tunnels are up."""
        eventually(self.is_up, limit_s, f"the tunnels of {self.host.name} are up")

    def ping(
        self,
        address: str,
        count: int = 5,
        interval_s: float = 0.02,
        size: int = 56,
        *,
        df: bool = True,
        timeout_s: float = 1.0,
    ) -> int:
        """How many echoes came back."""
        result = self.host.call(PING, address, count, interval_s, size, df, timeout_s)
        return int(result["received"])

    def logged(self, words: str) -> list[str]:
        """The lines of the log that have these words."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line for line in text.splitlines() if words in line]

    def devices(self) -> set[str]:
        """The names of the host's network interfaces."""
        return {name for _, name in self.host.call("socket:if_nameindex")}


class Pair:
    """A left and a right end with one secret."""

    def __init__(self, left: Host, right: Host, folder: Path) -> None:
        self.key = secrets.token_bytes(32)
        self.hosts = left, right
        self.left = End(left, "192.168.201.1", folder, self.key)
        self.right = End(right, "192.168.201.2", folder, self.key)
        self.ends = (self.left, self.right)

    def configure(self, number: int, mtu: str, *lines: str) -> str:
        """Write both files of tunnel ``number``: 10.77.NUMBER.1 left, .2 right. Its name."""
        name = f"t{number}"
        for end, peer, own in ((self.left, self.right, 1), (self.right, self.left, 2)):
            end.configure(
                name,
                f"tunnel 10.77.{number}.{own}/30 {mtu}",
                f"local {end.outer}:{2300 + number}",
                f"peer {peer.outer}:{2300 + number}",
                *lines,
            )
        return name

    def start(self) -> None:
        """Start both groups and wait until all tunnels are up."""
        for end in self.ends:
            end.start()
        self.wait_up()

    def wait_up(self) -> None:
        """Wait until all tunnels are up at both ends."""
        for end in self.ends:
            end.wait_up()

    def stop(self) -> list[int]:
        """Stop both groups; the exit statuses."""
        return [end.stop() for end in self.ends]


def is_alive(pid: int) -> bool:
    """Whether the process runs (one that only waits to be reaped doesn't)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
