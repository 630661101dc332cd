"""Hosts, links and NAT routers on one virtual clock.

A *realm* is a network in which addresses are unique: the public one, or the inside of a router. A
packet leaves through its host's uplink, climbs out of realms (each router translating its source)
until its destination is known, and comes down through routers (each translating the destination,
or refusing). The routers of the sender are near it, so they translate at once, and those of the
receiver when the packet gets there: a mapping can expire meanwhile, or be made by a packet that
goes the other way.
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
    """One network of unique addresses, with the router that leads out of it (public: ``None``).

    Several hosts may have one address with different ports: the sockets of one machine.
    """

    def __init__(self, router: Router | None = None) -> None:
        self.router = router
        self.members: dict[str, Host | Router] = {}
        self.sockets: dict[Address, Host] = {}

    def join(self, host: Host) -> None:
        """Take in a host; raises ``ValueError`` where its address is taken."""
        member = self.members.setdefault(host.address.host, host)
        for address in host.sockets:
            if isinstance(member, Router) or address in self.sockets:
                raise ValueError(f"{address} is taken")
        self.sockets.update(dict.fromkeys(host.sockets, host))

    def leave(self, host: Host) -> None:
        """Forget a host, and its address with the last of those that have it."""
        name = host.address.host
        for address in host.sockets:
            del self.sockets[address]
        if not any(address.host == name for address in self.sockets):
            del self.members[name]

    def join_router(self, address: str, router: Router) -> None:
        """Give a router an address of its own; raises ``ValueError`` where it is taken."""
        if address in self.members:
            raise ValueError(f"{address} is taken")
        self.members[address] = router


@dataclasses.dataclass(slots=True, eq=False)
class Host:
    """A machine's UDP socket: an address, and the uplink through which it sends. What comes to the
    ports in ``also`` is received as well."""

    address: Address
    realm: Realm
    uplink: LinkModel
    receive: Receive
    also: tuple[int, ...] = ()

    @property
    def sockets(self) -> tuple[Address, ...]:
        """All that it receives at."""
        host, port = self.address
        return tuple(Address(host, each) for each in (port, *self.also))


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
        realm.join(host)
        return host

    def move(self, host: Host, address: Address, realm: Realm) -> None:
        """Have a host leave where it is, and be there from now on. What is under way to where it
        was gets lost, unless somebody else is there by then.
        """
        host.realm.leave(host)
        host.address, host.realm = address, realm
        realm.join(host)

    def router(self, address: str, model: NatModel, outside: Realm | None = None) -> Router:
        """Attach a NAT router; hosts then join its ``inside``."""
        outside = outside or self.public
        router = Router(Nat(model, address, self._rng), outside)
        outside.join_router(address, router)
        return router

    def move_router(self, router: Router, address: str) -> None:
        """Give a router another address outside; it forgets who was behind the last one."""
        router.outside.join_router(address, router)
        del router.outside.members[router.nat.public_host]
        router.nat.move(address)

    def send(
        self, host: Host, datagram: bytes, destination: Address, pristine: bool = True
    ) -> None:
        """Take a datagram from a host. One that it passes on is ``pristine`` if it came so."""
        self.sent += 1
        now = self.clock.now
        source = host.address
        if self.refuse is not None and self.refuse(datagram, source, destination, now):
            self.lost += 1
            return
        copies = host.uplink.deliveries(len(datagram), now, self._rng)
        left = self._climb(host.realm, source, destination) if copies else None
        if left is None:
            self.lost += 1
            return
        realm, source = left
        for at, corrupted in copies:
            data = corrupt(datagram, self._rng) if corrupted else datagram
            self.clock.call_at(
                at, self._arrive, realm, data, source, destination, pristine and not corrupted
            )
            pristine = False

    def _climb(
        self, realm: Realm, source: Address, destination: Address
    ) -> tuple[Realm, Address] | None:
        """Go out until the destination is known: the realm, and the source as seen there."""
        while destination.host not in realm.members:
            if (router := realm.router) is None:
                return None
            translated = router.nat.outbound(source, destination, self.clock.now)
            if translated is None:
                return None
            source, realm = translated, router.outside
        return realm, source

    def _arrive(
        self, realm: Realm, data: bytes, source: Address, destination: Address, pristine: bool
    ) -> None:
        now = self.clock.now
        member = realm.members.get(destination.host)
        while isinstance(member, Router):
            inner = member.nat.inbound(source, destination, now)
            if inner is None:
                self.lost += 1
                return
            destination, realm = inner, member.inside
            member = realm.members.get(inner.host)
        host = realm.sockets.get(destination)
        if host is None:
            self.lost += 1
            return
        host.receive(data, source, pristine)
