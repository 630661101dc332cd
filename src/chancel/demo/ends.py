"""The two ends of the demonstration's tunnel: hosts, keys, configurations, daemons."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chancel.daemon import ctl, places
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.errors import LinkClosed
from chancel.lab.lab import Host, Lab

UNPRIVILEGED_USER = "nobody"
"""Whom the daemon's processes become when the real root runs the demonstration."""

INSTANCE = "demo"


@dataclass(frozen=True, slots=True)
class End:
    """One end: its host, its address on the network and in the tunnel, its folder."""

    host: Host
    outer: str
    inner: str
    home: Path

    @property
    def log(self) -> Path:
        """What its daemons said."""
        return self.home / "log"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the daemon."""
        command = [sys.executable, "-m", "chancel.cli.main", "run"]
        command += ["-c", str(self.home / "demo.conf"), "--runtime-dir", str(self.home / "run")]
        with self.log.open("ab") as log:
            return self.host.popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def status(self) -> dict[str, Any] | None:
        """What the daemon says about the tunnel; None while nobody answers."""
        socket = self.home / "run" / f"{INSTANCE}{places.CONTROL_SUFFIX}"
        with contextlib.suppress(LinkClosed):
            tunnels: list[dict[str, Any]] = ctl.ask(socket, {"do": "status"})["tunnels"]
            return tunnels[0] if tunnels else None
        return None


def build(lab: Lab, folder: Path) -> tuple[End, End]:
    """Two hosts on one network, a secret for both, a configuration each."""
    a = End(lab.host("a"), "192.168.201.1", "10.77.0.1", folder / "a")
    b = End(lab.host("b"), "192.168.201.2", "10.77.0.2", folder / "b")
    lab.connect(a.host, f"{a.outer}/24", b.host, f"{b.outer}/24")
    secret = secrets.token_bytes(32)
    for end, peer in ((a, b), (b, a)):
        end.home.mkdir(mode=0o711)
        (end.home / "run").mkdir(mode=0o700)
        key = end.home / "key"
        key.touch(mode=0o600)
        key.write_bytes(secret)
        if places.is_machine_root():
            shutil.chown(key, UNPRIVILEGED_USER)
        (end.home / "demo.conf").write_text(_configuration(end, peer))
    return a, b


def _configuration(end: End, peer: End) -> str:
    lines = [
        f"instance {INSTANCE}",
        f"secret {end.home / 'key'}",
        f"tunnel {end.inner}/30 auto",
        f"local {end.outer}:2333",
        f"peer {peer.outer}:2333",
    ]
    if places.is_machine_root():
        lines += [f"run {duty} as {UNPRIVILEGED_USER}" for duty in PROCESSES[Mode.TUNNEL]]
    return "\n".join(lines) + "\n"
