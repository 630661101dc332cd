"""WireGuard in user space (wireguard-go), without any tool of the system.

Its own control socket takes lines of ``key=value``; there is one below ``/var/run/wireguard`` for
each interface, which must be named so that no other on the machine has the name.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyroute2 import IPRoute

from chancel.lab.lab import Host

SOCKETS = Path("/var/run/wireguard")
MTU = 1422
PORT = 51820
START_LIMIT_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class WireGuard:
    """The program at a path. A tunnel is an interface, and each has a process of its own."""

    name: str
    path: str

    def prepare(self, folder: Path, tunnels: int) -> None:
        """A key for each end, the same in all tunnels."""
        for own in (1, 2):
            _key_file(folder, own).write_bytes(os.urandom(32))
        (folder / "tunnels").write_text(str(tunnels))

    def start(self, folder: Path, host: Host, own: int) -> list[subprocess.Popen[Any]]:
        """Start the interfaces of one end and configure them."""
        count = int((folder / "tunnels").read_text())
        names = [f"w{os.getpid()}-{own}{number}" for number in range(count)]
        with (folder / f"{own}.log").open("a") as log:
            daemons = [
                host.popen([self.path, "-f", name], stdout=log, stderr=log) for name in names
            ]
        for number, daemon in enumerate(daemons):
            _configure(_connect(names[number], daemon), _settings(folder, own, number))
        addresses = [f"10.77.{number}.{own}" for number in range(count)]
        host.call("benchmarks.wireguard:set_up", names, addresses)
        return daemons


def _key_file(folder: Path, own: int) -> Path:
    return folder / f"{own}.key"


def _settings(folder: Path, own: int, number: int) -> str:
    peer = 3 - own
    private = _key_file(folder, own).read_bytes()
    peers = X25519PrivateKey.from_private_bytes(_key_file(folder, peer).read_bytes())
    public = peers.public_key().public_bytes_raw()
    return (
        f"private_key={private.hex()}\nlisten_port={PORT + number}\n"
        f"public_key={public.hex()}\nendpoint=192.168.201.{peer}:{PORT + number}\n"
        f"allowed_ip=10.77.{number}.0/30\n"
    )


def _connect(interface: str, daemon: subprocess.Popen[Any]) -> socket.socket:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and daemon.poll() is None:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            control.connect(str(SOCKETS / f"{interface}.sock"))
        except OSError:
            control.close()
            time.sleep(0.01)
        else:
            return control
    raise RuntimeError("wireguard-go did not start")


def _configure(control: socket.socket, settings: str) -> None:
    with control, control.makefile("rw") as words:
        words.write(f"set=1\n{settings}\n")
        words.flush()
        answer = words.readline().strip()
    if answer != "errno=0":
        raise RuntimeError(f"wireguard-go refused its settings: {answer}")


def set_up(interfaces: list[str], addresses: list[str]) -> None:
    """In a host: give each interface its address, and the MTU."""
    with IPRoute() as ip:
        for interface, address in zip(interfaces, addresses, strict=True):
            (index,) = ip.link_lookup(ifname=interface)
            ip.addr("add", index=index, address=address, prefixlen=30)
            ip.link("set", index=index, mtu=MTU, state="up")
