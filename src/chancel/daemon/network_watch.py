"""Hears from the kernel when the machine's IPv4 addresses or routes change: another network, a
cable, a lease. Devices behind a NAT have to call their cathedral then (``linux/rtnetlink.h``).
"""

from __future__ import annotations

import socket

_IPV4_ADDRESSES = 0x10
_IPV4_ROUTES = 0x40
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV4_ROUTE: groups of netlink(7)."""

QUIET_S = 1.0
"""Changes come in showers; they are told at most once in this time."""

_MESSAGE_BYTES = 8192
_MOST_MESSAGES = 256
"""Taken at once; what is left wakes us again."""


class NetworkWatch:
    """A netlink socket that is only listened to."""

    def __init__(self) -> None:
        """Raises OSError where there is no netlink."""
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _IPV4_ADDRESSES | _IPV4_ROUTES))
        self._tell_at: float | None = None
        self._quiet_until = 0.0

    def fileno(self) -> int:
        """Readable when something changed."""
        return self._socket.fileno()

    def receive(self, now: float) -> None:
        """Take what waits; :meth:`changed` says what came of it."""
        for _ in range(_MOST_MESSAGES):
            try:
                self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                pass  # more came than the kernel keeps: that is a change, too
            if self._tell_at is None:
                self._tell_at = max(now, self._quiet_until)

    def changed(self, now: float) -> bool:
        """Whether it is time to say that the network changed; drained."""
        if self._tell_at is None or now < self._tell_at:
            return False
        self._tell_at, self._quiet_until = None, now + QUIET_S
        return True

    def wake_at(self) -> float | None:
        """When :meth:`changed` may be true."""
        return self._tell_at

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
