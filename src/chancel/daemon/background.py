"""``-d``: the daemon leaves its terminal, and whoever started it learns how that went.

The starting process stays until the tunnels are up and then ends with status 0; a start that fails
ends it with the daemon's own status, and with the line that the daemon would have printed. So a
script knows what ``chancel run -d`` has done when it returns.

Between the two is one pipe: in the daemon it is ``sys.stderr`` until the tunnels are up. Processes
that the daemon starts don't have it, so nobody who reads our output waits for their end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

_UP = b"\0"
"""Ends what is said on the pipe when the tunnels are up."""

FAILED = 1


def detach() -> Callable[[], None]:
    """Go on as a daemon; to be called before any process, thread or lock exists.

    The standard streams exist (``console.open_standard``).
    Returns in the daemon only, which calls the result once its tunnels are up. It has a session of
    its own, no terminal, ``/dev/null`` for 0, 1 and 2, and keeps directory, umask and environment.
    """
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or both would write it
    daemon = os.fork()
    if daemon:
        os.close(writing)
        os._exit(_wait_for(daemon, reading))
    os.close(reading)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    starter = sys.stderr = os.fdopen(writing, "w", encoding="utf-8", errors="backslashreplace")

    def up() -> None:
        sys.stderr = sys.__stderr__
        with contextlib.suppress(BrokenPipeError), starter:  # it has lost patience
            starter.write(_UP.decode())

    return up


def _wait_for(daemon: int, reading: int) -> int:
    """Repeat what the daemon says until it is up or gone; returns our exit status."""
    try:
        said = _read_all(reading)
    except KeyboardInterrupt:
        os.kill(daemon, signal.SIGTERM)
        os.waitpid(daemon, 0)
        return _tell(b"chancel: interrupted\n", FAILED)
    if said.endswith(_UP):
        return _tell(said.removesuffix(_UP), 0)
    status = os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1])
    if status > 0:
        return _tell(said, status)
    reason = f"by signal {-status}" if status else "by request"
    return _tell(said + f"chancel: ended while it started, {reason}\n".encode(), FAILED)


def _read_all(reading: int) -> bytes:
    said = b""
    while not said.endswith(_UP) and (more := os.read(reading, 4096)):
        said += more
    return said


def _tell(words: bytes, status: int) -> int:
    with contextlib.suppress(OSError):  # nobody listens
        while words:
            words = words[os.write(2, words) :]
    return status
