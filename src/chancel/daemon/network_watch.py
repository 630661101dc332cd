"""Hears from the kernel when the machine's IPv4 addresses or routes change: another network, a
cable, a lease. Devices behind a NAT have to call their cathedral then (``linux/rtnetlink.h``).

What happens to devices of our own is no news: each tunnel that joins a group brings an address and
routes, and would have all others look for their peers anew.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

from chancel.daemon.loop import Loop

_IPV4_ADDRESSES = 0x10
_IPV4_ROUTES = 0x40
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV4_ROUTE: groups of netlink(7)."""

QUIET_S = 1.0
"""Changes come in showers: they are told at most once in this time, and not even heard meanwhile,
because a router of a large network has thousands in a second.
"""

_HEADER = struct.Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence, port."""
_ADDRESS = struct.Struct("=BBBBI")
"""``struct ifaddrmsg``: family, prefix length, flags, scope, device."""
_ROUTE_BYTES = 12
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_ADDRESSES, _ROUTES, _OUTPUT = (20, 21), (24, 25), 4
"""RTM_NEWADDR and RTM_DELADDR, RTM_NEWROUTE and RTM_DELROUTE, RTA_OIF."""

_MESSAGE_BYTES = 8192
_MOST_MESSAGES = 256
"""Taken at once; what is left is heard later."""


class NetworkWatch:
    """A netlink socket that is only listened to; ``tell`` is called when there was news.

    ``is_ours`` says whether a device is one of our own, by its index.
    """

    def __init__(
        self, loop: Loop, tell: Callable[[], None], is_ours: Callable[[int], bool]
    ) -> None:
        """Raises OSError where there is no netlink."""
        self._loop = loop
        self._tell = tell
        self._is_ours = is_ours
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
        if not self._take():
            return
        # Paused alone it would still be told that too much came, again and again.
        self._loop.remove(self._socket)
        self._deaf_until = time.monotonic() + QUIET_S
        self._tell()

    def _take(self) -> bool:
        """Take what came; whether any of it is news."""
        is_news = False
        for _ in range(_MOST_MESSAGES):
            try:
                messages = self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                break
            except OSError:
                is_news = True  # more came than the kernel keeps: that is a change, too
                continue
            is_news = is_news or not all(map(self._is_ours, devices_of(messages)))
        return is_news


def devices_of(messages: bytes) -> Iterator[int]:
    """The index of the device that each message is about; 0 where it is none, or several."""
    offset = 0
    while offset + _HEADER.size <= len(messages):
        length, kind, *_ = _HEADER.unpack_from(messages, offset)
        if not _HEADER.size <= length <= len(messages) - offset:
            break
        body = messages[offset + _HEADER.size : offset + length]
        if kind in _ADDRESSES and len(body) >= _ADDRESS.size:
            yield _ADDRESS.unpack_from(body)[-1]
        elif kind in _ROUTES:
            yield _output_of(body)
        else:
            yield 0
        offset += _aligned(length)


def _output_of(route: bytes) -> int:
    offset = _ROUTE_BYTES
    while offset + _ATTRIBUTE.size <= len(route):
        length, kind = _ATTRIBUTE.unpack_from(route, offset)
        if kind == _OUTPUT and length == _ATTRIBUTE.size + _NUMBER.size <= len(route) - offset:
            return int(_NUMBER.unpack_from(route, offset + _ATTRIBUTE.size)[0])
        offset += max(_aligned(length), _ATTRIBUTE.size)
    return 0


def _aligned(length: int) -> int:
    return length + 3 & ~3
