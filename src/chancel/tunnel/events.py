"""What a tunnel tells its program: the protocol's events, and three for people.

The protocol's own events come unchanged, so that a trace of a tunnel can be laid beside one of the
daemon. The three here sum up what most programs want to know.
"""

from __future__ import annotations

import dataclasses

from chancel.protocol.session import SessionEvent
from chancel.wire.drop import Drop
from chancel.wire.types import Address


@dataclasses.dataclass(frozen=True, slots=True)
class Up:
    """There are keys for both directions: the peer holds our secret, and messages are carried.

    ``peer`` is its address, on a port.
    """

    peer: Address | None


@dataclasses.dataclass(frozen=True, slots=True)
class Down:
    """Nothing is carried until the next :class:`Up`; ``why`` is a sentence for people."""

    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """Something came and was refused while nothing is carried; ``why`` names the likely cause.

    Told once for each reason, until the tunnel goes down again. A stranger can cause it.
    """

    reason: Drop
    why: str


TunnelEvent = SessionEvent | Up | Down | Refused
