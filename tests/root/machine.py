"""This very machine, and a neighbour of it: a network namespace behind a cable."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pyroute2 import IPRoute

from chancel.lab import enter, namespace
from chancel.lab.lab import Task
from chancel.lab.namespace import HostNamespaces

CABLE, FAR_END = "chancel-root", "eth0"


class Machine:
    """Runs programs here or, with ``inside``, in other namespaces."""

    def __init__(self, name: str, inside: HostNamespaces | None = None) -> None:
        self.name = name
        self._inside = inside

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program."""
        if self._inside is None:
            return subprocess.Popen(command, **options)
        fds = self._inside.net, self._inside.uts
        return subprocess.Popen(enter.command(None, *fds, command), pass_fds=fds, **options)

    def start(self, target: str, *arguments: Any) -> Task:
        """Start a Python function in a process of its own."""
        command = [sys.executable, "-m", "chancel.lab.call", target]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return Task(target, self.popen(command, text=True, **pipes), json.dumps(arguments))

    def call(self, target: str, *arguments: Any) -> Any:
        """Run it to its end."""
        return self.start(target, *arguments).result()


@contextlib.contextmanager
def neighbours(here: str, there: str, length: int) -> Iterator[tuple[Machine, Machine]]:
    """This machine and a new neighbour, with an address each on the cable between them."""
    far = namespace.create_host("neighbour")
    try:
        with IPRoute() as ip:
            ip.link(
                "add", ifname=CABLE, kind="veth", peer={"ifname": FAR_END, "net_ns_fd": far.net}
            )
            _plug_in(ip, CABLE, here, length)
        with namespace.inside(far.net), IPRoute() as ip:
            _plug_in(ip, FAR_END, there, length)
            _plug_in(ip, "lo", "127.0.0.1", 8)
        yield Machine("here"), Machine("neighbour", far)
    finally:
        with IPRoute() as ip:
            for index in ip.link_lookup(ifname=CABLE):
                ip.link("del", index=index)
        namespace.sweep([far])


def _plug_in(ip: Any, name: str, address: str, length: int) -> None:
    (index,) = ip.link_lookup(ifname=name)
    with contextlib.suppress(FileExistsError):
        ip.addr("add", index=index, address=address, prefixlen=length)
    ip.link("set", index=index, state="up")
