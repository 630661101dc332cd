"""The programs that are compared, and which of them this machine has.

Each makes tunnels between two hosts: :meth:`Vpn.prepare` writes what both ends share,
:meth:`Vpn.start` starts one end. The inner addresses of tunnel N are 10.77.N.1 and 10.77.N.2.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from benchmarks.result import LeftOut
from benchmarks.wireguard import WireGuard
from chancel.daemon import ctl, places
from chancel.daemon.hot import twins
from chancel.lab.lab import Host

DUTIES = (
    "heaven-rx",
    "heaven-tx",
    "purgatory-rx",
    "purgatory-tx",
    "bless",
    "confess",
    "chapel",
    "control",
)
MTU, MTU_SHROUD = 1422, 1373
PORT = 2333

OTHERS = {"OpenVPN": "openvpn", "tinc": "tincd", "Nebula": "nebula", "fastd": "fastd"}
"""Programs that nobody has measured with this bench yet, and their commands."""


class Vpn(Protocol):
    """A program that can be measured."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def prepare(self, folder: Path, tunnels: int) -> None:
        """Write what both ends share."""

    def start(self, folder: Path, host: Host, own: int) -> list[subprocess.Popen[Any]]:
        """Start the end ``own`` (1 or 2) of all tunnels; its outer address is 192.168.201.OWN."""


@dataclasses.dataclass(frozen=True, slots=True)
class Daemon:
    """Chancel or the reference, whose files are the same.

    ``grouped``: one group of processes has all tunnels; else each has a daemon of its own.
    ``accelerated``: it runs compiled functions.
    """

    name: str
    command: tuple[str, ...]
    directives: str = ""
    mtu: int = MTU
    grouped: bool = False
    accelerated: bool = False

    def shrouded(self) -> Daemon:
        """The same with its datagrams masked."""
        lines = f"{self.directives}shroud yes\n"
        return dataclasses.replace(self, directives=lines, mtu=MTU_SHROUD)

    def prepare(self, folder: Path, tunnels: int) -> None:
        """One secret, and a file for each end of each tunnel."""
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_bytes(os.urandom(32))
        for own, peer in ((1, 2), (2, 1)):
            home = folder / str(own)
            home.mkdir()
            for number in range(tunnels):
                name = f"t{number:03}"  # so that they come in the order of their numbers
                (home / f"{name}.conf").write_text(
                    f"instance {name}\nsecret {secret}\n"
                    f"tunnel 10.77.{number}.{own}/30 {self.mtu}\n"
                    f"local 192.168.201.{own}:{PORT + number}\n"
                    f"peer 192.168.201.{peer}:{PORT + number}\n"
                    f"control {home}/{name}.control root\n"
                    + "".join(f"run {duty} as root\n" for duty in DUTIES)
                    + self.directives
                )

    def start(self, folder: Path, host: Host, own: int) -> list[subprocess.Popen[Any]]:
        """One group, or a daemon for each tunnel."""
        home = folder / str(own)
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(runtime(folder, own))}
        paths = sorted(home.glob("*.conf"))
        groups = [paths] if self.grouped else [[path] for path in paths]
        with (folder / f"{own}.log").open("a") as log:
            return [
                host.popen(
                    [*self.command, *(word for path in group for word in ("-c", str(path)))],
                    stdout=log,
                    stderr=log,
                    env=environment,
                )
                for group in groups
            ]


def runtime(folder: Path, own: int) -> Path:
    """Where one end of Chancel has its sockets."""
    return folder / f"{own}.run"


def check(vpn: Vpn, folder: Path) -> None:
    """Raise RuntimeError if a group of ours doesn't run what its column says."""
    if isinstance(vpn, Daemon) and vpn.grouped:
        control = next(runtime(folder, 2).glob("*.ctl"))
        state = ctl.ask(control, {"do": "status"})["group"]["accelerator"]
        if vpn.accelerated != (state == "on"):
            raise RuntimeError(f"{vpn.name}: its accelerator is {state}")


_CHANCEL = (sys.executable, "-m", "chancel.cli.main", "run")

ACCELERATED = Daemon("Chancel, accelerator", _CHANCEL, grouped=True, accelerated=True)
PURE = Daemon("Chancel, pure", _CHANCEL, "accelerator off\n", grouped=True)
PER_PACKET = dataclasses.replace(
    PURE, name="Chancel, offload off", directives=f"{PURE.directives}offload off\n"
)

REFERENCE, WIREGUARD = "reference", "wireguard-go"


def ours() -> list[Daemon]:
    """Chancel as it is installed, and without what is optional in it."""
    accelerated = [] if twins.module() is None else [ACCELERATED]
    return [*accelerated, PURE]


def reference() -> Daemon | None:
    """The C daemon, if it is named and may run here."""
    path = os.environ.get("SANCTUM")
    return Daemon(REFERENCE, (path,)) if path and places.is_machine_root() else None


def wireguard() -> WireGuard | None:
    """WireGuard in user space, if it is named and may run here."""
    path = os.environ.get("WIREGUARD_GO")
    return WireGuard(WIREGUARD, path) if path and places.is_machine_root() else None


def peers() -> list[Vpn]:
    """All others that there are."""
    return [vpn for vpn in (reference(), wireguard()) if vpn is not None]


def left_out() -> Iterator[LeftOut]:
    """Whoever can't take part, and why."""
    if twins.module() is None:
        yield LeftOut(ACCELERATED.name, "not built: make setup with cargo")
    if reference() is None:
        yield LeftOut(REFERENCE, "as root: make bench SANCTUM=/path/to/sanctum")
    if wireguard() is None:
        yield LeftOut(WIREGUARD, "as root: make bench WIREGUARD_GO=/path/to/wireguard-go")
    for name, command in OTHERS.items():
        found = shutil.which(command) is not None
        yield LeftOut(
            name, "installed, but this bench can't drive it" if found else "not installed"
        )
