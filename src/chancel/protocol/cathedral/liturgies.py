"""The table of devices that take part in automatic networks, and who of them sees whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.admission import Registered
from chancel.protocol.cathedral.freshness import Freshness
from chancel.protocol.cathedral.permits import without_domain
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.types import Address, FlockId

MAX_PER_DEVICE: Final = 64
"""Two kinds of liturgy in 32 domains of its flock."""

MAX_LITURGIES: Final = 131_072
"""Some 100 MB."""

_Kind = tuple[int, bool]
"""Device and whether it is signaling: one device may do both."""


class Liturgy:
    """One device in one domain; ``address`` is another cathedral's if ``federated``."""

    __slots__ = (
        "address",
        "answer_at",
        "device",
        "federated",
        "flock",
        "freshness",
        "group",
        "hidden",
        "identity",
        "remember_at",
        "seen_at",
        "signaling",
        "wanted",
    )

    def __init__(self, flock: FlockId, body: LiturgyBody, address: Address, now: float) -> None:
        self.flock = flock
        self.device = body.id
        self.signaling = body.signaling
        self.group = body.group
        self.hidden = body.hidden
        self.wanted = b""
        self.identity = CathedralId(0)
        self.address = address
        self.federated = False
        self.seen_at = now
        self.remember_at = now
        self.answer_at = now
        self.freshness = Freshness()

    def says(self, body: LiturgyBody, identity: CathedralId, now: float) -> None:
        """Take over what the device wants now."""
        self.identity = identity
        self.seen_at = now
        self.group = body.group
        self.hidden = body.hidden
        self.wanted = body.peers if body.signaling else b""

    def wants(self, other: Liturgy) -> bool:
        """Whether it asks for this device, both signaling."""
        return other.device < PEERS_BYTES and self.wanted[other.device] != 0

    def sees(self, other: Liturgy) -> bool:
        """Whether the answer to this one tells of that other one (cathedral section 7.3)."""
        wanted = not (self.signaling and other.signaling) or self.wants(other) or other.wants(self)
        return other.group == self.group and not (self.hidden and other.hidden) and wanted


class Liturgies:
    """All devices, by the domain they are in."""

    def __init__(self, registered: Registered) -> None:
        self._registered = registered
        self._domains: dict[FlockId, dict[_Kind, Liturgy]] = {}
        self._counts: dict[int, int] = {}
        self._size = 0
        self.federated = 0
        """How many of them are at other cathedrals."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Liturgy]:
        for domain in self._domains.values():
            yield from domain.values()

    def find(self, flock: FlockId, body: LiturgyBody) -> Liturgy | None:
        """The entry that a liturgy of this kind is about."""
        return self._domains.get(flock, {}).get((body.id, body.signaling))

    def add(self, flock: FlockId, body: LiturgyBody, address: Address, now: float) -> Liturgy:
        """Register a device here. Raises ``RemoteProtocolError`` (``TABLE_LIMIT``)."""
        device = without_domain(flock) | body.id
        if self._size >= MAX_LITURGIES or self._counts.get(device, 0) >= MAX_PER_DEVICE:
            raise RemoteProtocolError(Drop.TABLE_LIMIT)
        entry = Liturgy(flock, body, address, now)
        self._domains.setdefault(flock, {})[body.id, body.signaling] = entry
        self._counts[device] = self._counts.get(device, 0) + 1
        self._size += 1
        self._registered.add(address)
        return entry

    def move(self, entry: Liturgy, address: Address, federated: bool) -> None:
        """The device is here now: at this address, or at the cathedral with this address."""
        self._leave(entry)
        entry.address, entry.federated = address, federated
        self.federated += federated
        if not federated:
            self._registered.add(address)

    def remove(self, entry: Liturgy) -> None:
        """Forget a device."""
        self._leave(entry)
        domain = self._domains[entry.flock]
        del domain[entry.device, entry.signaling]
        if not domain:
            del self._domains[entry.flock]
        device = without_domain(entry.flock) | entry.device
        self._counts[device] -= 1
        if not self._counts[device]:
            del self._counts[device]
        self._size -= 1

    def seen_by(self, entry: Liturgy) -> bytes:
        """One byte for each device, 1 for those that the answer to this one tells of.

        The last device, 255, has no place in it and is never told of.
        """
        peers = bytearray(PEERS_BYTES)
        for other in self._domains[entry.flock].values():
            if other is not entry and other.device < PEERS_BYTES and entry.sees(other):
                peers[other.device] = 1
        return bytes(peers)

    def _leave(self, entry: Liturgy) -> None:
        self.federated -= entry.federated
        if not entry.federated:
            self._registered.remove(entry.address)
