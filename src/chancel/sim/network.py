"""Hosts, links and NAT routers on one virtual clock.

A *realm* is a network in which addresses are unique: the public one, or the inside of a router. A
packet leaves through its host's uplink, climbs out of realms (each router translating its source)
until its destination is known, and comes down through routers (each translating the destination,
or refusing). Translation happens when the packet gets there, so a mapping can expire meanwhile.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from chancel.sim.clock import VirtualClock
from chancel.sim.models import LinkModel, corrupt
from chancel.sim.nat import Nat, NatModel
from chancel.wire.types import Address

Receive = Callable[[bytes, Address, bool], None]
"""Called with (datagram, source, pristine); pristine: undamaged and not a second copy."""

Refuse = Callable[[bytes, Address, Address, float], bool]
"""Asked with (datagram, source, destination, now); ``True`` takes the datagram off the network."""


class Realm:
    """One network of unique addresses, with the router that leads out of it (public: ``None``)."""

    def __init__(self, router: Router | None = None) -> None:
        self.router = router
        self.members: dict[str, Host | Router] = {}

    def join(self, address: str, member: Host | Router) -> None:
        """Give ``member`` an address; raises ``ValueError`` where it is taken."""
        if address in self.members:
            raise ValueError(f"{address} is taken")
        self.members[address] = member


@dataclasses.dataclass(slots=True, eq=False)
class Host:
    """A machine's UDP socket: an address, and the uplink through which it sends. What comes to the
    ports in ``also`` is received as well."""

    address: Address
    realm: Realm
    uplink: LinkModel
    receive: Receive
    also: tuple[int, ...] = ()


class Router:
    """A NAT router: a member of one realm, and the way out of another."""

    def __init__(self, nat: Nat, outside: Realm) -> None:
        self.nat = nat
        self.outside = outside
        self.inside = Realm(self)


class Network:
    """Carries datagrams between hosts; every chance is drawn from ``rng``.

    ``refuse`` may be set at any time to a predicate that takes chosen datagrams off the network
    (a scripted fault). ``sent`` counts what hosts gave, ``lost`` what came out nowhere.
    """

    def __init__(self, clock: VirtualClock, rng: random.Random) -> None:
        self.clock = clock
        self.public = Realm()
        self.refuse: Refuse | None = None
        self.sent = 0
        self.lost = 0
        self._rng = rng

    def host(
        self,
        address: Address,
        uplink: LinkModel,
        receive: Receive,
        realm: Realm | None = None,
        also: tuple[int, ...] = (),
    ) -> Host:
        """Attach a host to a realm, the public one unless another is given."""
        realm = realm or self.public
        host = Host(address, realm, uplink, receive, also)
        realm.join(address.host, host)
        return host

    def router(self, address: str, model: NatModel, outside: Realm | None = None) -> Router:
        """Attach a NAT router; hosts then join its ``inside``."""
        outside = outside or self.public
        router = Router(Nat(model, address, self._rng), outside)
        outside.join(address, router)
        return router

    def send(self, host: Host, datagram: bytes, destination: Address) -> None:
        """Take a datagram from a host."""
        self.sent += 1
        now = self.clock.now
        source = host.address
        if self.refuse is not None and self.refuse(datagram, source, destination, now):
            self.lost += 1
            return
        copies = host.uplink.deliveries(len(datagram), now, self._rng)
        if not copies:
            self.lost += 1
        pristine = True
        for at, corrupted in copies:
            data = corrupt(datagram, self._rng) if corrupted else datagram
            self.clock.call_at(
                at, self._arrive, host.realm, data, source, destination, pristine and not corrupted
            )
            pristine = False

    def _arrive(
        self, realm: Realm, data: bytes, source: Address, destination: Address, pristine: bool
    ) -> None:
        now = self.clock.now
        while destination.host not in realm.members:
            if (router := realm.router) is None:
                self.lost += 1
                return
            if (translated := router.nat.outbound(source, destination, now)) is None:
                self.lost += 1
                return
            source, realm = translated, router.outside
        member = realm.members[destination.host]
        while isinstance(member, Router):
            inner = member.nat.inbound(source, destination, now)
            if inner is None or inner.host not in member.inside.members:
                self.lost += 1
                return
            destination, member = inner, member.inside.members[inner.host]
        if destination.port != member.address.port and destination.port not in member.also:
            self.lost += 1
            return
        member.receive(data, source, pristine)
