"""Log lines for the machine's syslog daemon: the daemon's voice once it has no terminal.

All processes of the group share one socket, connected before they give anything up: a sealed
process may send on it and never connects. A syslog daemon that isn't there, that dies or that is
slow costs lines, which are counted and told with the next one that gets through, and nothing else.
When it comes back only the guardian has to notice: it watches the directory of ``/dev/log``
(inotify, no polling) and connects the shared socket anew, for everybody.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import time
from pathlib import Path

from chancel.daemon import linux
from chancel.daemon.loop import Loop

PATH = Path("/dev/log")

FACILITY_DAEMON = 3
SEVERITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}

PATIENCE_S = 0.2
"""How long the guardian waits for a syslog daemon whose queue is full. The others never wait."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_EVENTS_BYTES = 4096


class Syslog:
    """The shared socket; it exists whether anybody listens or not."""

    def __init__(self, path: Path = PATH) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        patience = struct.pack("@ll", 0, int(PATIENCE_S * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self.heard = self.connect()
        """Whether anybody listened at first."""

    def fileno(self) -> int:
        """The descriptor that each process keeps."""
        return self._socket.fileno()

    def connect(self) -> bool:
        """Find whoever listens now; false if nobody does."""
        try:
            self._socket.connect(os.fspath(self.path))
        except OSError:
            return False
        return True

    def watch(self, loop: Loop) -> None:
        """Connect again whenever something appears where the syslog daemon listens."""

        def look() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(watch, _EVENTS_BYTES)
            self.connect()  # harmless when it was something else

        with contextlib.suppress(OSError):  # no such directory, or no inotify to be had
            watch = linux.watch_directory(self.path.resolve().parent)
            loop.add(watch, look)

    def send(self, line: bytes, *, patient: bool) -> bool:
        """Send one datagram; false if it was lost."""
        try:
            self._socket.send(line, 0 if patient else socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close our copy."""
        self._socket.close()


class SyslogHandler(logging.Handler):
    """Lines of one process, in the form of the C library's syslog(3).

    ``identity`` is its name there. One that ``is_patient`` waits for a daemon that is busy.
    """

    identity = "chancel"
    is_patient = False

    def __init__(self, syslog: Syslog) -> None:
        super().__init__()
        self._syslog = syslog
        self._lost = 0
        time.localtime()  # reads the time zone, while there is a file system

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; a traceback goes as one datagram for each of its lines."""
        for text in self.format(record).splitlines():
            if self._lost and self._send(logging.WARNING, f"log lines lost count={self._lost}"):
                self._lost = 0
            if not self._send(record.levelno, text):
                self._lost += 1

    def _send(self, level: int, text: str) -> bool:
        priority = FACILITY_DAEMON << 3 | SEVERITIES[level]
        line = f"<{priority}>{_timestamp()} {self.identity}[{os.getpid()}]: {text}"
        return self._syslog.send(line.encode(errors="backslashreplace"), patient=self.is_patient)


def _timestamp() -> str:
    """Local time as syslog has it; strftime would look at the time zone's file again."""
    now = time.localtime()
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {clock}"
