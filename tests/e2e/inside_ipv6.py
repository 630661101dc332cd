"""What tests do with IPv6 inside a host: see ``inside``."""

from __future__ import annotations

import random
import socket
from collections.abc import Generator
from pathlib import Path

from tests.e2e.inside import PORT

_BUFFER_BYTES = 4 << 20
_PATIENCE_S = 30.0
_UDP_SEGMENT = 103
_IPV6_MTU = 24


def collect(host: str, count: int) -> Generator[str, None, list[str]]:
    """The next UDP payloads to an IPv6 address, in order. Yields once, listening.

    Raises TimeoutError after a long silence.
    """
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        sock.bind((host, PORT))
        sock.settimeout(_PATIENCE_S)
        yield "listening"
        return [sock.recv(65535).hex() for _ in range(count)]


def send_train(host: str, count: int, size: int) -> list[str]:
    """Send that many payloads to an IPv6 address in one call, cut by the kernel or the device."""
    payloads = [random.Random(number).randbytes(size) for number in range(count)]
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, size)
        sock.sendto(b"".join(payloads), (host, PORT))
    return [payload.hex() for payload in payloads]


def forward_ipv6() -> None:
    """Be a router of IPv6."""
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


def add_default_route6(interface: str, gateway: str) -> None:
    """Send all IPv6 to a gateway."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.route("add", dst="::/0", gateway=gateway, oif=socket.if_nametoindex(interface))


def path_mtu(host: str) -> int:
    """What the kernel knows of the way to an IPv6 address, bytes of IP packet."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.connect((host, PORT))
        return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
