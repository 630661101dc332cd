"""Addresses, routes and MTU of a tunnel's device, told to the kernel over netlink.

Nothing here has to be undone: all of it goes away with the device.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from chancel.daemon.config_types import Network
from chancel.daemon.linux import MachineError

_SIOCSIFMTU = 0x8922
_PROTO_STATIC = 4
_ADDRESS_GENERATION_NONE = 1


@contextlib.contextmanager
def netlink() -> Iterator[Any]:
    """A netlink connection; refusals of the kernel are raised as OSError.

    The library is loaded at first use: only the guardian needs it, and only after it forked.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as connection:
            yield connection
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


def configure(name: str, tunnel: IPv4Interface | None, mtu: int, routes: Sequence[Network]) -> None:
    """Give the device its MTU and address, set it up, and route ``routes`` into it.

    The connected route of the tunnel's own network comes with the address. Raises
    :class:`MachineError`.
    """
    index = socket.if_nametoindex(name)
    try:
        with netlink() as ip:
            _silence_ipv6(ip, name, index)
            ip.link("set", index=index, mtu=mtu)
            if tunnel is not None:
                own, length = str(tunnel.ip), tunnel.network.prefixlen
                ip.addr("add", index=index, address=own, local=own, prefixlen=length)
            ip.link("set", index=index, state="up")
    except OSError as error:
        raise MachineError(f"address {tunnel} can't be set: {error.strerror}") from error
    for route in routes:
        _add_route(index, route, str(tunnel.ip) if tunnel else None)


def _add_route(index: int, route: Network, gateway: str | None) -> None:
    try:
        with netlink() as ip:
            via = {} if gateway is None else {"gateway": gateway}
            ip.route("add", dst=str(route), oif=index, proto=_PROTO_STATIC, **via)
    except FileExistsError as error:
        raise MachineError(f"route {route} already exists (see: ip route show {route})") from error
    except OSError as error:
        raise MachineError(f"route {route} can't be added: {error.strerror}") from error


def _silence_ipv6(ip: Any, name: str, index: int) -> None:
    """IPv6 isn't carried, so the kernel needn't look for neighbours and routers there."""
    switch = Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6")
    try:
        switch.write_text("1")
    except FileNotFoundError:  # a kernel without IPv6
        return
    except OSError:  # /proc/sys is read-only in many containers
        ip.link(
            "set",
            index=index,
            IFLA_AF_SPEC={
                "attrs": [
                    (
                        "AF_INET6",
                        {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE)]},
                    )
                ]
            },
        )


def set_mtu(name: str, mtu: int) -> None:
    """Change the device's MTU, in bytes of IP packet. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFMTU, struct.pack("16si12x", name.encode(), mtu))


def exists(name: str) -> bool:
    """Whether a network device of that name exists."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
