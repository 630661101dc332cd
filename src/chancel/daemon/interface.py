"""A tunnel's network device after it was set up: its MTU, and whether it still exists.

A few ioctl(2) on a socket are all that needs, so the guardian never loads the netlink library. The
socket decides in which network the device is looked for; that need not be our own.
"""

from __future__ import annotations

import dataclasses
import fcntl
import socket
import struct
import time

GONE_LIMIT_S = 2.0
"""The kernel takes devices down behind our back, usually within milliseconds."""

_SIOCSIFMTU = 0x8922
_SIOCGIFINDEX = 0x8933


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """The device called ``name`` in the network that ``network``, any IP socket, was opened in."""

    name: str
    network: socket.socket

    @classmethod
    def here(cls, name: str) -> Interface:
        """The device of that name in our own network."""
        return cls(name, socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def index(self) -> int | None:
        """Its number in that network; ``None`` where there is no device of that name."""
        request = struct.pack("16s24x", self.name.encode())
        try:
            answer = fcntl.ioctl(self.network, _SIOCGIFINDEX, request)
        except OSError:
            return None
        return int(struct.unpack_from("=i", answer, 16)[0])

    def exists(self) -> bool:
        """Whether there is a device of that name."""
        return self.index() is not None

    def set_mtu(self, mtu: int) -> None:
        """Change the MTU, in bytes of IP packet. Raises OSError."""
        request = struct.pack("16si20x", self.name.encode(), mtu)
        fcntl.ioctl(self.network, _SIOCSIFMTU, request)

    def wait_gone(self) -> bool:
        """Wait until the kernel has taken a closed device away; False if it takes too long."""
        deadline = time.monotonic() + GONE_LIMIT_S
        while self.exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def close(self) -> None:
        """Close the socket."""
        self.network.close()
