"""Hears from the kernel when the machine's IPv4 addresses or routes change: another network, a
cable, a lease. Devices behind a NAT have to call their cathedral then (``linux/rtnetlink.h``).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from chancel.daemon.loop import Loop

_IPV4_ADDRESSES = 0x10
_IPV4_ROUTES = 0x40
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV4_ROUTE: groups of netlink(7)."""

QUIET_S = 1.0
"""Changes come in showers: they are told at most once in this time, and not even heard meanwhile,
because a router of a large network has thousands in a second.
"""

_MESSAGE_BYTES = 8192
_MOST_MESSAGES = 256
"""Taken at once; what is left is heard later."""


class NetworkWatch:
    """A netlink socket that is only listened to; ``tell`` is called when there was news."""

    def __init__(self, loop: Loop, tell: Callable[[], None]) -> None:
        """Raises OSError where there is no netlink."""
        self._loop = loop
        self._tell = tell
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _IPV4_ADDRESSES | _IPV4_ROUTES))
        self._deaf_until: float | None = None
        loop.add(self._socket, self._receive)

    def wake_at(self) -> float | None:
        """When to listen again; the kernel keeps what comes until then."""
        return self._deaf_until

    def wake(self, now: float) -> None:
        """Listen again, if it is time to."""
        if self._deaf_until is not None and now >= self._deaf_until:
            self._deaf_until = None
            self._loop.add(self._socket, self._receive)

    def close(self) -> None:
        """Stop listening."""
        if self._deaf_until is None:
            self._loop.remove(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        for _ in range(_MOST_MESSAGES):
            try:
                self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                break
            except OSError:
                pass  # more came than the kernel keeps: that is a change, too
        # Paused alone it would still be told that too much came, again and again.
        self._loop.remove(self._socket)
        self._deaf_until = time.monotonic() + QUIET_S
        self._tell()
