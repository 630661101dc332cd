"""A stand-in for a daemon: it answers on the status socket, and has a pid file."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LIMIT_S = 60

_LOCKED = """
import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGQUIT])
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o400)
fcntl.flock(file, fcntl.LOCK_EX)
if sys.argv[2] == "up":
    os.pwrite(file, str(os.getpid()).encode(), 0)
print("ready", flush=True)
signal.sigwait([signal.SIGQUIT])
os.unlink(sys.argv[1])
"""


def datagram(
    tx: int, rx: int, *, now: float | None = None, last_s: int | None = 1, mtu: int = 1422
) -> bytes:
    """The 88 bytes (daemon section 4): keys of 9 seconds; peer 192.168.201.2:2333."""
    now = int(time.monotonic() if now is None else now)
    last = 0 if last_s is None else now - last_s
    sides = [struct.pack("=I4xQQQQ", spi, now - 9, 26, last, 3240) for spi in (tx, rx)]
    return (
        b"".join(sides)
        + bytes([192, 168, 201, 2])
        + (2333).to_bytes(2, "big")
        + struct.pack("=H", mtu)
    )


@contextlib.contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """Serve the answers, one for each request; the requests, once all were made."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(LIMIT_S)

        def serve() -> None:
            for answer in answers:
                request, client = server.recvfrom(64)
                requests.append(request)
                server.sendto(answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield requests
        thread.join()


@contextlib.contextmanager
def locked(pidfile: Path, *, state: str = "up") -> Iterator[subprocess.Popen[str]]:
    """A process that has a pid file as ours has one, and ends at SIGQUIT; or is ``starting``."""
    command = [sys.executable, "-c", _LOCKED, str(pidfile), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def named_as_the_reference(pidfile: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name, which locks nothing."""
    program = folder / "sanctum"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, str(LIMIT_S)]) as process:
        while Path(f"/proc/{process.pid}/comm").read_text() != "sanctum\n":
            os.sched_yield()  # between fork and exec
        pidfile.write_text(str(process.pid))
        try:
            yield process
        finally:
            process.kill()
