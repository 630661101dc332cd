"""How packets travel between interfaces: networks, cables, routers.

Sans-IO but for the interfaces it is given: frames come in with the time, leave at once or wait here
until :meth:`Wire.wake`. A packet's way: ``Network.carry`` finds the receiver by its address (or the
gateway), the receiver's *cable* (one copy of the network's link model for each direction towards a
member) decides when and in what state it arrives, the receiver accepts it. A receiver is a host's
interface or a router's leg.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

from chancel.lab import packet
from chancel.lab.interface import IP_OFFSET, IpInterface
from chancel.lab.namespace import LabError
from chancel.sim.models import LinkModel
from chancel.sim.nat import Nat

MAX_WAITING = 200_000
"""Packets under way in one lab: a model with a long delay must not eat the machine's memory."""


IpNetwork = IPv4Network | IPv6Network


class Receiver(Protocol):
    """Whoever can be a member of a network."""

    @property
    def address(self) -> IpInterface:
        """Its address on the network it is a member of."""

    def accept(self, frame: memoryview, now: float) -> None:
        """Take a packet. The frame is the caller's again after the return."""


@dataclasses.dataclass(slots=True)
class _Cable:
    """The way towards one member."""

    receiver: Receiver
    model: LinkModel


@dataclasses.dataclass(order=True, slots=True)
class _Waiting:
    at: float
    number: int
    receiver: Receiver = dataclasses.field(compare=False)
    frame: bytearray = dataclasses.field(compare=False)


class Wire:
    """Everything under way. ``rng`` decides all chances, so a seed repeats them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.counts: Counter[str] = Counter()
        """What happened to packets, by word: carried, lost, unrouted, refused, ..."""
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()

    def wake_at(self) -> float | None:
        """When the next packet arrives."""
        return self._waiting[0].at if self._waiting else None

    def wake(self, now: float) -> None:
        """Deliver all that has arrived by now."""
        while self._waiting and self._waiting[0].at <= now:
            waiting = heapq.heappop(self._waiting)
            waiting.receiver.accept(memoryview(waiting.frame), now)

    def send(self, frame: memoryview, cable: _Cable, now: float) -> None:
        """Put a packet on a cable."""
        deliveries = cable.model.deliveries(len(frame) - IP_OFFSET, now, self.rng)
        if not deliveries:
            self.counts["lost"] += 1
        for delivery in deliveries:
            if len(self._waiting) >= MAX_WAITING:
                self.counts["overflow"] += 1
                return
            held = bytearray(frame)
            if delivery.corrupted:
                self.counts["corrupted"] += 1
                packet.corrupt(memoryview(held), self.rng)
            heapq.heappush(
                self._waiting, _Waiting(delivery.at, next(self._numbers), cable.receiver, held)
            )


class Network:
    """Members of one IP network, joined by cables of one model."""

    def __init__(self, wire: Wire, prefix: IpNetwork, model: LinkModel) -> None:
        self.prefix = prefix
        self._wire = wire
        self.model = model
        self._perfect = model.perfect
        self._cables: dict[bytes, _Cable] = {}
        self._gateway: _Cable | None = None
        self._groups: dict[bytes, int] = {}

    def check_free(self, address: IpInterface) -> None:
        """Raises LabError where the address can't join."""
        if address.ip not in self.prefix:
            raise LabError(f"{address.ip} is not in the network {self.prefix}")
        if address.packed in self._cables:
            raise LabError(f"{address.ip} is already taken in the network {self.prefix}")

    def join(self, receiver: Receiver, gateway: bool = False) -> None:
        """Add a member; the gateway gets what is addressed outside the network."""
        self.check_free(receiver.address)
        cable = _Cable(receiver, dataclasses.replace(self.model))
        self._cables[receiver.address.packed] = cable
        if gateway:
            self._gateway = cable

    def set_model(self, model: LinkModel) -> None:
        """Change all cables from now on; what is under way arrives as it would have."""
        self.model = model
        self._perfect = model.perfect
        for cable in self._cables.values():
            cable.model = dataclasses.replace(model)

    def split(self, groups: Sequence[Iterable[bytes]]) -> None:
        """Carry nothing from an address in one group to one in another, from now on."""
        self._groups = {address: number for number, group in enumerate(groups) for address in group}

    def carry(self, frame: memoryview, now: float) -> None:
        """Take a packet from a member to the receiver its address names."""
        target = packet.destination(frame)
        if self._groups and self._is_apart(packet.source(frame), target):
            self._wire.counts["lost"] += 1
            return
        cable = None if target is None else self._cables.get(target)
        if cable is None and target is not None and ip_address(target) not in self.prefix:
            cable = self._gateway
        if cable is None:
            self._wire.counts["unrouted"] += 1
            return
        self._wire.counts["carried"] += 1
        if self._perfect:
            cable.receiver.accept(frame, now)
        else:
            self._wire.send(frame, cable, now)

    def _is_apart(self, source: bytes | None, target: bytes | None) -> bool:
        groups = [self._groups.get(each) for each in (source, target) if each is not None]
        return None not in groups and len(set(groups)) > 1


@dataclasses.dataclass(slots=True)
class _Leg:
    """A router's place in one network."""

    address: IpInterface
    accepts: Callable[[memoryview, float], None]

    def accept(self, frame: memoryview, now: float) -> None:
        self.accepts(frame, now)


class Router:
    """Joins an inside network to an outside one, translating addresses where it has a NAT."""

    def __init__(
        self,
        wire: Wire,
        inside: tuple[Network, IpInterface],
        outside: tuple[Network, IpInterface],
        nat: Nat | None,
    ) -> None:
        self._wire = wire
        self._inside, inside_address = inside
        self._outside, outside_address = outside
        if nat is not None and inside_address.version == 6:
            raise LabError(f"{inside_address.ip} can't be translated: only IPv4 has NAT here")
        self._public = outside_address.packed
        self._nat = nat
        self._inside.check_free(inside_address)
        self._outside.join(_Leg(outside_address, self._from_outside), gateway=nat is None)
        self._inside.join(_Leg(inside_address, self._from_inside), gateway=True)

    def _from_inside(self, frame: memoryview, now: float) -> None:
        if not packet.hop(frame):
            self._wire.counts["expired"] += 1
        elif self._nat is None:
            self._outside.carry(frame, now)
        elif not self._translate_source(self._nat, frame, now):
            self._wire.counts["refused"] += 1
        elif packet.destination(frame) == self._public:
            self._enter(frame, now)
        else:
            self._outside.carry(frame, now)

    def _from_outside(self, frame: memoryview, now: float) -> None:
        if packet.hop(frame):
            self._enter(frame, now)
        else:
            self._wire.counts["expired"] += 1

    def _enter(self, frame: memoryview, now: float) -> None:
        if self._nat is None or self._translate_destination(self._nat, frame, now):
            self._inside.carry(frame, now)
        else:
            self._wire.counts["refused"] += 1

    @staticmethod
    def _translate_source(nat: Nat, frame: memoryview, now: float) -> bool:
        flow = packet.flow_of(frame)
        public = flow and nat.outbound(flow.source, flow.destination, now, flow.protocol)
        if public:
            packet.set_source(frame, public)
        return bool(public)

    @staticmethod
    def _translate_destination(nat: Nat, frame: memoryview, now: float) -> bool:
        flow = packet.flow_of(frame)
        private = flow and nat.inbound(flow.source, flow.destination, now, flow.protocol)
        if private:
            packet.set_destination(frame, private)
        return bool(private)
