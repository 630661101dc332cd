"""Addresses, routes and first MTU of a tunnel's device, told to the kernel over netlink.

Nothing here has to be undone: all of it goes away with the device. A bridge that was made for a TAP
device is meant to stay.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from chancel.daemon.config_types import Network
from chancel.daemon.linux import MachineError

_PROTO_STATIC = 4
_IFA_F_NODAD = 0x02
_ADDRESS_GENERATION_NONE = 1
_IPV6_SWITCH = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"

log = logging.getLogger("chancel.daemon")


def load_library() -> None:
    """Load the netlink library, which else happens at its first use."""
    import pyroute2  # noqa: F401


@contextlib.contextmanager
def netlink() -> Iterator[Any]:
    """A netlink connection; refusals of the kernel are raised as OSError."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as connection:
            yield connection
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


def configure(
    name: str,
    tunnel: IPv4Interface | None,
    mtu: int,
    routes: Sequence[Network],
    *,
    tunnel6: IPv6Interface | None = None,
) -> None:
    """Give the device its MTU and addresses, set it up, and route ``routes`` into it.

    The connected routes of the tunnel's own networks come with the addresses. Raises
    :class:`MachineError`.
    """
    index = socket.if_nametoindex(name)
    with netlink() as ip:
        for wanted in (tunnel, tunnel6):
            if wanted is not None:
                _check_is_free(ip, wanted)
        with _refused(f"address {tunnel} can't be set"):
            if tunnel6 is None:
                _silence_ipv6(ip, name, index)
            else:
                _allow_ipv6(ip, name, index)
            ip.link("set", index=index, mtu=mtu)
            if tunnel is not None:
                own, length = str(tunnel.ip), tunnel.network.prefixlen
                ip.addr("add", index=index, address=own, local=own, prefixlen=length)
            ip.link("set", index=index, state="up")
        if tunnel6 is not None:
            with _refused(f"address {tunnel6} can't be set"):
                own, length = str(tunnel6.ip), tunnel6.network.prefixlen
                ip.addr("add", index=index, address=own, prefixlen=length, flags=_IFA_F_NODAD)
        for route in routes:
            _add_route(ip, index, route, str(tunnel.ip) if tunnel else None)


def configure_tap(name: str, bridge: str | None, mtu: int, routes: Sequence[Network]) -> None:
    """Give a TAP device its MTU, make it a port of ``bridge``, set it up, and route into it.

    The bridge is made unless it exists, and stays. Raises :class:`MachineError`.
    """
    index = socket.if_nametoindex(name)
    with netlink() as ip:
        with _refused(f"network device {name} can't be set up"):
            ip.link("set", index=index, mtu=mtu)
        if bridge is not None:
            with _refused(f"bridge {bridge} can't be made"):
                if not exists(bridge):
                    ip.link("add", ifname=bridge, kind="bridge")
                master = socket.if_nametoindex(bridge)
                ip.link("set", index=master, state="up")
            with _refused(f"{name} can't be added to bridge {bridge} (expected a bridge)"):
                _silence_ipv6(ip, name, index)  # the bridge speaks, not its ports
                ip.link("set", index=index, master=master)
            log.info("added %s to %s", name, bridge)
        with _refused(f"network device {name} can't be set up"):
            ip.link("set", index=index, state="up")
        for route in routes:
            _add_route(ip, index, route, None)


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    """Make a refusal of the kernel a :class:`MachineError` that says what failed."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        raise MachineError(f"{what}: {os.strerror(error.code)}") from error
    except OSError as error:
        raise MachineError(f"{what}: {error.strerror}") from error


def _check_is_free(ip: Any, wanted: IPv4Interface | IPv6Interface) -> None:
    """Refuse an address that the machine has already: the kernel would take it, and half the
    packets the other way. One without a network (/32, /128) may well be shared by interfaces."""
    if wanted.network.num_addresses == 1:
        return
    family = socket.AF_INET if wanted.version == 4 else socket.AF_INET6
    with _refused(f"address {wanted} can't be looked for"):
        for entry in ip.get_addr(family=family):
            if entry.get_attr("IFA_LOCAL", entry.get_attr("IFA_ADDRESS")) == str(wanted.ip):
                taken = socket.if_indextoname(entry["index"])
                problem = f"address {wanted.ip} is already on {taken} (expected one of its own)"
                raise MachineError(problem)


def _add_route(ip: Any, index: int, route: Network, gateway: str | None) -> None:
    """IPv4 routes name our own address as gateway, as the sanctum daemon's; IPv6 has no such."""
    from pyroute2.netlink.exceptions import NetlinkError

    via = {} if gateway is None or route.version == 6 else {"gateway": gateway}
    with _refused(f"route {route} can't be added"):
        try:
            ip.route("add", dst=str(route), oif=index, proto=_PROTO_STATIC, **via)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            hint = f"see: ip route show {route}"
            raise MachineError(f"route {route} already exists ({hint})") from error


def _silence_ipv6(ip: Any, name: str, index: int) -> None:
    """IPv6 isn't carried, so the kernel needn't look for neighbours and routers there."""
    switch = Path(_IPV6_SWITCH.format(name))
    try:
        switch.write_text("1")
    except FileNotFoundError:  # a kernel without IPv6
        return
    except OSError:  # /proc/sys is read-only in many containers
        _no_generated_address(ip, index)


def _allow_ipv6(ip: Any, name: str, index: int) -> None:
    """IPv6 with the tunnel's address alone: without a link-local one the kernel doesn't look for
    routers, and has no groups to report."""
    switch = Path(_IPV6_SWITCH.format(name))
    try:
        if switch.read_text().strip() != "0":
            switch.write_text("0")
    except OSError as error:
        raise MachineError(
            f"IPv6 is switched off here: {error.strerror}"
            " (expected no tunnel6, or sysctl net.ipv6.conf.default.disable_ipv6=0)"
        ) from error
    _no_generated_address(ip, index)


def _no_generated_address(ip: Any, index: int) -> None:
    mode = ("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE)
    ip.link("set", index=index, IFLA_AF_SPEC={"attrs": [("AF_INET6", {"attrs": [mode]})]})


def exists(name: str) -> bool:
    """Whether a network device of that name exists."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
