"""Offloads: what the kernel does with one call for many packets. Their names, and how they depend.

``checksum``, ``tso`` and ``uso`` are about reading the device: the kernel leaves checksums, and big
packets of TCP or UDP, to us. ``coalesce`` is about writing it: we leave them to the kernel.
``gso`` and ``gro`` are about the UDP socket: one call sends, or brings, many datagrams.

Each is tried by itself when a tunnel starts, and two are given up later on the error that proves
them broken. Nothing depends on any of them but speed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Offload(enum.IntFlag):
    """What can be had or not had by itself. The name in lower case is that of ``status``."""

    CHECKSUM = enum.auto()
    TSO4 = enum.auto()
    TSO6 = enum.auto()
    USO4 = enum.auto()
    USO6 = enum.auto()
    GSO = enum.auto()
    GRO = enum.auto()
    COALESCE_TCP4 = enum.auto()
    COALESCE_TCP6 = enum.auto()
    COALESCE_UDP = enum.auto()


NONE = Offload(0)
TSO = Offload.TSO4 | Offload.TSO6
USO = Offload.USO4 | Offload.USO6
COALESCE = Offload.COALESCE_TCP4 | Offload.COALESCE_TCP6 | Offload.COALESCE_UDP
OF_DEVICE = Offload.CHECKSUM | TSO | USO | COALESCE
OF_SOCKET = Offload.GSO | Offload.GRO
ALL = OF_DEVICE | OF_SOCKET

SWITCHES: Mapping[str, Offload] = MappingProxyType(
    {
        "checksum": Offload.CHECKSUM,
        "tso": TSO,
        "uso": USO,
        "coalesce": COALESCE,
        "gso": Offload.GSO,
        "gro": Offload.GRO,
    }
)
"""The names of a configuration file, in the order of ``status``."""

BIG_PACKETS = TSO | USO
"""The kernel hands over none of these to whoever wants finished checksums."""


class State(enum.StrEnum):
    """How it stands with an offload."""

    ON = "on"
    OFF = "off"
    """Switched off by configuration."""
    REFUSED = "refused"
    """This kernel has no such thing."""
    BROKEN = "broken"
    """Given up at run time, on the error that proved it broken."""


def switched(offloads: Offload, name: str, *, on: bool) -> Offload:
    """``offloads`` with one switch turned; what needs another one comes and goes with it."""
    changed = SWITCHES[name]
    if on:
        return offloads | changed | (Offload.CHECKSUM if changed & BIG_PACKETS else NONE)
    return offloads & ~(changed | (BIG_PACKETS if changed & Offload.CHECKSUM else NONE))


def of_socket(*, gso: bool, gro: bool) -> Offload:
    """The offloads of a UDP socket."""
    return (Offload.GSO if gso else NONE) | (Offload.GRO if gro else NONE)


def names(offloads: Offload) -> str:
    """For a line of the log: ``tso4,tso6``; ``none`` for nothing."""
    return ",".join(str(each.name).lower() for each in Offload if each in offloads) or "none"


def states(wanted: Offload, found: Offload, among: Offload = ALL) -> dict[str, str]:
    """For ``status``: each offload's name and its :class:`State`, as far as the start tells."""
    return {
        str(each.name).lower(): str(
            State.ON if each in found else State.REFUSED if each in wanted else State.OFF
        )
        for each in among
    }


def with_broken(states: Mapping[str, str], broken: Offload) -> dict[str, str]:
    """The same, once some were given up."""
    return {
        name: str(State.BROKEN) if Offload[name.upper()] in broken else state
        for name, state in states.items()
    }
