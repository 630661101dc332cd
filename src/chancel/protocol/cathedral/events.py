"""What happened at a cathedral, for logs. Frozen, and never needed for correct function."""

from __future__ import annotations

import dataclasses
import enum

from chancel.protocol.events import SecretUnavailable
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.types import Address, FlockId, Flocks


class Ending(enum.StrEnum):
    """Why something is no longer registered."""

    SILENT = "silent"
    NOT_ALLOWED = "not allowed"
    CATHEDRAL_GONE = "cathedral gone"


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelRegistered:
    """A tunnel end is known from now on; ``address`` is another cathedral's if ``federated``."""

    flocks: Flocks
    tunnel: TunnelId
    identity: CathedralId
    address: Address
    federated: bool


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelRestarted:
    """The device at a tunnel's end has started anew."""

    flocks: Flocks
    tunnel: TunnelId


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelEnded:
    """A tunnel end is no longer known."""

    flocks: Flocks
    tunnel: TunnelId
    reason: Ending


@dataclasses.dataclass(frozen=True, slots=True)
class LiturgyRegistered:
    """A device is there, in a domain of its flock."""

    flock: FlockId
    device: int
    address: Address
    federated: bool


@dataclasses.dataclass(frozen=True, slots=True)
class LiturgyEnded:
    """A device is no longer there."""

    flock: FlockId
    device: int
    reason: Ending


@dataclasses.dataclass(frozen=True, slots=True)
class KeysUnavailable:
    """A client that is allowed has no usable keys here; ``problem`` is a sentence for people."""

    flock: FlockId
    identity: CathedralId
    problem: str


CathedralEvent = (
    TunnelRegistered
    | TunnelRestarted
    | TunnelEnded
    | LiturgyRegistered
    | LiturgyEnded
    | KeysUnavailable
    | SecretUnavailable
)
