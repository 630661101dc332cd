"""Numbers and byte strings that mean different things are different types."""

from __future__ import annotations

from typing import NamedTuple, NewType

Spi = NewType("Spi", int)
"""Security parameter index: 32 bit, non-zero, big-endian on the wire, chosen by the receiver."""

Salt = NewType("Salt", bytes)
"""Four opaque bytes at the head of each nonce of an SA; never byte swapped."""

FlockId = NewType("FlockId", int)
"""A 64-bit network id: 56 bits of flock and, lowest, 8 bits of domain. 0 without a cathedral."""

InstanceId = NewType("InstanceId", int)
"""64 random bits drawn at process start; orders the two sides of an exchange (unsigned)."""

SessionKey = NewType("SessionKey", bytes)
"""A 32-byte traffic key of one direction."""


class Flocks(NamedTuple):
    """The two flocks of one peer: its own and its peer's. On the peer they are mirrored."""

    own: FlockId
    peer: FlockId


NO_FLOCKS = Flocks(FlockId(0), FlockId(0))


class Address(NamedTuple):
    """Where datagrams come from or go to: a numeric IP address and a UDP port in host order."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Buffer = bytes | bytearray | memoryview
"""What a decoder takes: anything byte-like. Never kept after the call returns."""
