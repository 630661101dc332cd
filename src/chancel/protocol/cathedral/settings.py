"""What an operator wants of a cathedral: who may register what, and with whom it is federated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from chancel.errors import LocalProtocolError
from chancel.wire.cathedral_fields import CathedralId, encode_address
from chancel.wire.types import Address, FlockId

if TYPE_CHECKING:  # who reads no bundle needs no numpy
    from chancel.protocol.cathedral.bundle import Bundle

MAX_FEDERATION: Final = 31
"""Cathedrals beside this one: a remembrance has 32 places, and the first is its sender's."""

MIN_MTU: Final = 623
MAX_MTU: Final = 1422
MAX_SHROUDED_MTU: Final = 1373
"""Larger ones would be more than an Ethernet frame holds, with all that is put around them."""

Pair = tuple[FlockId, FlockId]
"""Two flocks that may have tunnels with each other, the smaller id first; without domains."""


class Allow(NamedTuple):
    """This identity may register tunnels of this device, towards which ``mbit`` may be relayed.

    ``device`` is 1 to 255. ``mbit`` is about megabits per second: ``route.limit_bytes`` has the
    formula; 0 is unlimited.
    """

    identity: CathedralId
    device: int
    mbit: int


@dataclasses.dataclass(frozen=True, slots=True)
class FlockSettings:
    """One flock: its id without domain, who is in it, and the secrets within it, wrapped."""

    id: FlockId
    allows: tuple[Allow, ...]
    bundle: Bundle | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What can change while a cathedral runs. Keys of ``xflocks`` are made by :func:`pair`.

    ``federation`` is in the order of a remembrance. The cathedral's own address may be in it, so
    that all can share one file.
    """

    flocks: Mapping[FlockId, FlockSettings] = dataclasses.field(default_factory=dict)
    xflocks: Mapping[Pair, Bundle | None] = dataclasses.field(default_factory=dict)
    federation: tuple[Address, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What stays. ``address`` is where clients reach this cathedral: it is told to them.

    ``p2p_sync``: believe other cathedrals where their clients can be reached directly, and tell
    them of ours. ``shroud``: all datagrams are masked, both ways. ``tfc``: our own offers are as
    long as traffic packets of ``mtu`` bytes. Raises ``LocalProtocolError`` for an address that
    nobody can send to, and for another MTU than 623 to 1422, or 1373 with a shroud.
    """

    address: Address
    mtu: int
    p2p_sync: bool = False
    shroud: bool = False
    tfc: bool = False

    def __post_init__(self) -> None:
        encode_address(self.address)
        most = MAX_SHROUDED_MTU if self.shroud else MAX_MTU
        if not MIN_MTU <= self.mtu <= most:
            raise LocalProtocolError(f"an MTU of {self.mtu}: give one from {MIN_MTU} to {most}")


def pair(one: FlockId, other: FlockId) -> Pair:
    """The key of two flocks in ``Settings.xflocks``, in whatever order they are given."""
    return (one, other) if one < other else (other, one)
