"""What the command of ``chancel exec`` tries in the tests; prints what it found as JSON."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from tests.e2e.machine import BUS, CACHE, answers

PORT = 7007
ECHO_LIMIT_S = 5.0
OUTSIDE_LIMIT_S = 0.5
VSOCK = 40


def reach(host: str, limit_s: float) -> str:
    """``"yes"`` if a TCP echo server answers there, or the error."""
    try:
        with socket.create_connection((host, PORT), timeout=limit_s) as stream:
            stream.sendall(b"hello")
            return "yes" if stream.recv(5) == b"hello" else "no"
    except OSError as error:
        return type(error).__name__


def resolve(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, 80)[0][4][0])
    except OSError as error:
        return type(error).__name__


def family(number: int) -> str:
    try:
        socket.socket(number, socket.SOCK_STREAM).close()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "yes"


def report(inner: str, outer: list[str], name: str) -> dict[str, Any]:
    """Everything a test wants to know."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    return {
        "uid": os.getuid(),
        "groups": [os.getgid(), os.getegid()],
        "capabilities": [int(status[each], 16) for each in ("CapEff", "CapPrm", "CapInh")],
        "no_new_privs": status["NoNewPrivs"],
        "descriptors": [fd for fd in range(64) if Path(f"/proc/self/fd/{fd}").exists()],
        "devices": sorted(each for _, each in socket.if_nameindex()),
        "peer": reach(inner, ECHO_LIMIT_S),
        "others": [reach(each, OUTSIDE_LIMIT_S) for each in outer],
        "name": resolve(name),
        "bus": answers(str(BUS)),
        "named_bus": answers(os.environ.get("NAMED_BUS", "/nonexistent")),
        "cache": answers(str(CACHE)),
        "resolv.conf": Path("/etc/resolv.conf").read_text(),
        "hosts": "localhost" in Path("/etc/hosts").read_text(),
        "environment": [each for each in os.environ if each.startswith("DBUS_")],
        "vsock": family(VSOCK),
    }


if __name__ == "__main__":
    inner, name, *outer = sys.argv[1:]
    print(json.dumps(report(inner, outer, name)))
