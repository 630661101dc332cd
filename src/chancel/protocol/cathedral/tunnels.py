"""The table of tunnel ends, each registered by a client here or at another cathedral.

An end is known by a *key*: own flock be64 | peer's flock be64 | tunnel be16, which is how an offer
of a key exchange names its sender. Traffic finds its receiver by SPI and the sender's flocks, as
its header has them, so an end has one more entry for each SPI that it receives under.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.admission import Registered
from chancel.protocol.cathedral.freshness import Freshness
from chancel.protocol.cathedral.permits import without_domain
from chancel.protocol.cathedral.route import Relayed, Route
from chancel.protocol.cathedral.shrouds import MAGICS
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi

MAX_PER_DEVICE: Final = 1024
"""A device has at most 254 peers; it may be in some domains, and in crossing flocks."""

MAX_PER_FLOCK: Final = 65_536
"""All pairs of 255 devices are 64,770 ends: one flock can't take what others need."""

MAX_TUNNELS: Final = 262_144
"""Some 400 MB, and more infos than one process could take."""

SETTLE_S: Final = 15.0
"""After a start, during which an end isn't told where its peer is."""

_KEY = struct.Struct("!QQH")
_ROUTE_KEY = struct.Struct("!IQQ")
_DEVICE_AT = 16
_LIKE_MAGICS = frozenset(int.from_bytes(magic[:4], "big") for magic in MAGICS)


def key_of(flocks: Flocks, tunnel: TunnelId) -> bytes:
    """The key of the end whose flocks these are."""
    return _KEY.pack(*flocks, tunnel)


def peer_key(key: bytes) -> bytes:
    """The key of a tunnel's other end."""
    return key[8:16] + key[:8] + key[17:] + key[16:17]


def receiver_key(head: bytes) -> bytes:
    """The key of the end that traffic with this header (32 bytes) is for, by its SPI."""
    return head[24:32] + head[16:24] + head[:2]


def flocks_of(key: bytes) -> Flocks:
    """The flocks of the end with this key, with domain."""
    own, peer, _ = _KEY.unpack(key)
    return Flocks(FlockId(own), FlockId(peer))


class Tunnel:
    """One end. ``public`` is the address that everybody sees it at, and ``reachable`` whether that
    is so; ``proves_paths`` is whether it may be told of addresses that may not lead to its peer;
    ``provisional`` is an SPI that its peer uses and it has not reported yet; ``generation`` is that
    of the ambry it says it has, ``None`` if it wants none. Times are those from which on something
    may be done (again).
    """

    __slots__ = (
        "federate_at",
        "freshness",
        "generation",
        "identity",
        "instance",
        "key",
        "nat_freshness",
        "pending",
        "proves_paths",
        "provisional",
        "public",
        "reachable",
        "receiving",
        "remember_at",
        "route",
        "seen_at",
        "settles_at",
        "tell_at",
    )

    def __init__(
        self, key: bytes, identity: CathedralId, instance: InstanceId, route: Route, now: float
    ) -> None:
        self.key = key
        self.identity = identity
        self.instance = instance
        self.route = route
        self.receiving: Spi | None = None
        self.pending: Spi | None = None
        self.provisional: Spi | None = None
        self.seen_at = now
        self.settles_at = now + SETTLE_S
        self.remember_at = now
        self.federate_at = now
        self.tell_at = now
        self.public: Address | None = None
        self.reachable = False
        self.proves_paths = False
        self.generation: int | None = None
        self.freshness = Freshness()
        self.nat_freshness: Freshness | None = None

    def __repr__(self) -> str:
        own, peer = self.flocks
        return f"<Tunnel {own:x}-{peer:x}:{self.id:04x} at {self.route.destination}>"

    @property
    def flocks(self) -> Flocks:
        """Those of this end, with domain."""
        return flocks_of(self.key)

    @property
    def id(self) -> TunnelId:
        """As this end names it."""
        return TunnelId(int.from_bytes(self.key[16:], "big"))

    @property
    def device(self) -> int:
        """This end's device id."""
        return self.key[_DEVICE_AT]

    @property
    def federated(self) -> bool:
        """Whether the client is at another cathedral, which is where the route leads."""
        return self.route.federated

    @property
    def seen(self) -> Address | None:
        """Where it was last seen, by us or by the cathedral where its client is."""
        return self.public if self.federated else self.route.destination

    def restarted(self, now: float) -> None:
        """Its device started anew: what its NAT does has to be found out again."""
        self.reachable = False
        self.settles_at = now + SETTLE_S


class Tunnels:
    """All ends, and the routes to them."""

    def __init__(self, relayed: Relayed, registered: Registered) -> None:
        self._relayed = relayed
        self._registered = registered
        self._ends: dict[bytes, Tunnel] = {}
        self.routes: dict[bytes, Route] = {}
        """To look at, for each train: where traffic goes, by the SPI and the flocks in its header
        (bytes 0 to 4 and 16 to 32)."""
        # A flock's id ends in eight zero bits, so its devices' counts and its own fit in one table.
        self._counts: dict[int, int] = {}
        self.federated = 0
        """How many of them are at other cathedrals."""

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(self._ends.values())

    def find(self, key: bytes) -> Tunnel | None:
        """The end with this key."""
        return self._ends.get(key)

    def add(
        self,
        key: bytes,
        identity: CathedralId,
        instance: InstanceId,
        address: Address,
        federated: bool,
        mbit: int,
        now: float,
    ) -> Tunnel:
        """Register an end. Raises ``RemoteProtocolError`` (``TABLE_LIMIT``)."""
        flock = without_domain(FlockId(int.from_bytes(key[:8], "big")))
        device = flock | key[_DEVICE_AT]
        full = (
            len(self._ends) >= MAX_TUNNELS
            or self._counts.get(flock, 0) >= MAX_PER_FLOCK
            or self._counts.get(device, 0) >= MAX_PER_DEVICE
        )
        if full:
            raise RemoteProtocolError(Drop.TABLE_LIMIT)
        route = Route(address, self._relayed, mbit)
        tunnel = Tunnel(key, identity, instance, route, now)
        for each in (flock, device):
            self._counts[each] = self._counts.get(each, 0) + 1
        self._ends[key] = tunnel
        self._lead(route, address, federated)
        return tunnel

    def move(self, tunnel: Tunnel, address: Address, federated: bool) -> None:
        """The end is here now: at this address, or at the cathedral with this address."""
        route = tunnel.route
        if address == route.destination and federated == route.federated:
            return
        self._leave(route)
        self._lead(route, address, federated)

    def receive_under(
        self,
        tunnel: Tunnel,
        receiving: Spi | None,
        pending: Spi | None,
        provisional: Spi | None = None,
    ) -> None:
        """From now on traffic under these SPIs, and no others, is for this end.

        ``provisional`` is one that the end has not reported, but that its peer uses.
        """
        spis = (receiving, pending, provisional)
        if spis == (tunnel.receiving, tunnel.pending, tunnel.provisional):
            return
        self._relayed.changes += 1
        for key in self._route_keys(tunnel):
            del self.routes[key]
        tunnel.receiving, tunnel.pending, tunnel.provisional = spis
        for key in self._route_keys(tunnel):
            self.routes[key] = tunnel.route

    def remove(self, tunnel: Tunnel) -> None:
        """Forget an end."""
        self.receive_under(tunnel, None, None)
        self._leave(tunnel.route)
        del self._ends[tunnel.key]
        flock = without_domain(tunnel.flocks.own)
        for each in (flock, flock | tunnel.device):
            self._counts[each] -= 1
            if not self._counts[each]:
                del self._counts[each]

    def _lead(self, route: Route, address: Address, federated: bool) -> None:
        self._relayed.changes += 1
        route.destination, route.federated = address, federated
        self.federated += federated
        if not federated:
            self._registered.add(address)

    def _leave(self, route: Route) -> None:
        self.federated -= route.federated
        if not route.federated:
            self._registered.remove(route.destination)

    def _route_keys(self, tunnel: Tunnel) -> set[bytes]:
        # An SPI of another tunnel's would lead that one's traffic here; and under one that begins
        # like an offer's magic each packet is looked at.
        own, peer = tunnel.flocks
        return {
            _ROUTE_KEY.pack(spi, peer, own)
            for spi in (tunnel.receiving, tunnel.pending, tunnel.provisional)
            if spi is not None and spi >> 16 == tunnel.id and spi not in _LIKE_MAGICS
        }
