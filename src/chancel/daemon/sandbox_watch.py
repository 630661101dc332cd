"""``--sandbox=log``: the guardian hears of each call that the sandbox would have stopped.

The kernel holds such a call until it is answered; the answer is always "go on". Nothing is decided
by what the call's arguments point to, which its process could change meanwhile.

Source: seccomp_unotify(2).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import time

from chancel.daemon import sandbox_filter
from chancel.daemon.logs import RateLimit
from chancel.daemon.sandbox_calls import refused_to

INTERVAL_S = 60.0
"""A process's use of a call is logged at most once in this time."""

_RECEIVE, _SEND = 0xC050_2100, 0xC018_2101
_NOTIFICATION = struct.Struct("=QII iIQ6Q")
"""id, pid, flags; call, architecture, instruction pointer, six arguments."""
_ANSWER = struct.Struct("=QqiI")
_CONTINUE = 1

log = logging.getLogger("chancel.daemon")


class Watch:
    """The listeners of a group, by the name of the process that each is for."""

    def __init__(self) -> None:
        self.listeners: dict[int, str] = {}
        self._limit = RateLimit(INTERVAL_S)

    def add(self, listener: int, name: str) -> None:
        """Take a process's listener, which is readable when a call waits."""
        os.set_blocking(listener, False)
        self.listeners[listener] = name

    def answer(self, listener: int) -> None:
        """Log the call that waits, and let it go on. The listener is readable."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer)
            number, _pid, _flags, call, _architecture, _at, *arguments = _NOTIFICATION.unpack(
                buffer
            )
            self._tell(self.listeners[listener], call, arguments)
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, 0, _CONTINUE))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):  # its process died meanwhile
                raise

    def close(self) -> None:
        """Stop listening: calls that are not allowed fail from now on."""
        for listener in self.listeners:
            os.close(listener)
        self.listeners.clear()

    def _tell(self, name: str, number: int, arguments: list[int]) -> None:
        call = sandbox_filter.call_name(number)
        outcome = "refused" if call in refused_to(name) else "killed"
        self._limit.log(
            log,
            logging.WARNING,
            (name, number),
            time.monotonic(),
            "a call outside of its list process=%s call=%s first=%#x would be=%s",
            name,
            call,
            arguments[0],
            outcome,
        )
