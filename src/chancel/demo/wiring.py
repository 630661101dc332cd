"""Addresses and routes beyond those of the lab's networks; these functions run in a host."""

from __future__ import annotations

from pyroute2 import IPRoute

HOST_PREFIX = 32


def take_address(address: str) -> None:
    """Have an IPv4 address that belongs to no wire."""
    with IPRoute() as ip:
        (index,) = ip.link_lookup(ifname="lo")
        ip.addr("add", index=index, address=address, prefixlen=HOST_PREFIX)


def leave(interface: str) -> None:
    """Pull a plug: the addresses and routes of an interface are gone with it."""
    with IPRoute() as ip:
        (index,) = ip.link_lookup(ifname=interface)
        ip.link("set", index=index, state="down")


def go_out_by(interface: str) -> None:
    """Have the default route of IPv4 there."""
    with IPRoute() as ip:
        (index,) = ip.link_lookup(ifname=interface)
        ip.route("replace", dst="0.0.0.0/0", oif=index, scope="link")


def reach(address: str, gateway: str) -> None:
    """Send what is for an IPv4 address to a neighbour."""
    with IPRoute() as ip:
        ip.route("add", dst=f"{address}/{HOST_PREFIX}", gateway=gateway)
