"""How much a network of many devices needs: formulas from the protocol's intervals and unit costs.

Simulations check the counts of datagrams (``tests/sim/test_parish_scale.py``), ``make bench`` and
``network_costs`` measure what one costs. Everything is for a steady state: no churn, no faults.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from chancel.protocol.registration_pace import INFO_INTERVAL_S
from chancel.sim.parish_plan import MAX_FLOCK
from chancel.wire.ambry import OWN
from chancel.wire.offer import OFFER_BYTES

HEADERS_BYTES: Final = 28
"""IPv4 and UDP."""

DATAGRAM_BYTES: Final = OFFER_BYTES + HEADERS_BYTES
"""Every message to, from and between cathedrals has this size on the wire."""

REMEMBRANCE_S: Final = 15.0
"""Between two remembrances for one tunnel end (cathedral section 6.2)."""

PLACES_BYTES: Final = 4 << 16
"""The table of places that a cathedral keeps beside each bundle."""

PROCESS_BYTES: Final = 60 << 20
"""All processes of a cathedral before anybody registers."""

MONTH_S: Final = 30 * 86_400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds of one core. ``info`` with its answer, ``federated`` is an info that
    another cathedral passed on with the word of where the client is, ``passed_on`` the other side
    of it, for all cathedrals together: it is sealed once."""

    info_s: float
    probe_s: float
    federated_s: float
    passed_on_s: float
    relayed_s_per_byte: float = 0.51e-9
    """``make bench``: 0.51 s for each gigabyte."""
    tunnel_bytes: float = 1.14e3
    """``make bench``: 1.14 KB for each tunnel end that a cathedral knows."""


BENCH_INFO_S: Final = 0.66 * INFO_INTERVAL_S / 20_022
"""``make bench``: 0.66 of a core for 20,022 tunnel ends, sockets and all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """What a cathedral runs on, by the month. The prices are an assumption, to be replaced by
    those of whoever reads."""

    cores: int = 2
    memory_bytes: float = 4e9
    fill: float = 0.5
    """The share of its cores and memory that may be in use with all cathedrals alive."""
    price: float = 8.0
    price_per_terabyte: float = 1.0
    """Of what it sends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """Who there is. ``tunnels`` are those of each device, ``relayed`` the share of them that can't
    be direct, ``bits_s`` what a tunnel carries on average, one way."""

    devices: int
    tunnels: float = 4.0
    flock: int = 250
    relayed: float = 0.15
    bits_s: float = 2_000.0

    @property
    def flocks(self) -> int:
        """As few as can be."""
        return math.ceil(self.devices / self.flock)

    @property
    def ends(self) -> float:
        """Ends of tunnels; each is registered on its own."""
        return self.devices * self.tunnels


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What one cathedral of a pool does in a second, and what it keeps."""

    infos: float
    """Each comes with a probe of NAT detection, and is answered."""
    federated: float
    """Datagrams from others, two for each of their infos."""
    federated_out: float
    remembrances: float
    relayed_bytes: float
    cores: float
    memory_bytes: float

    @property
    def in_bytes(self) -> float:
        """On the wire, a second."""
        return (2 * self.infos + self.federated) * DATAGRAM_BYTES + self.relayed_bytes

    @property
    def out_bytes(self) -> float:
        """On the wire, a second."""
        messages = self.infos + self.remembrances + self.federated_out
        return messages * DATAGRAM_BYTES + self.relayed_bytes

    @property
    def federation_share(self) -> float:
        """The part of what it receives and sends of its own that is for other cathedrals."""
        federation = (self.federated + self.federated_out) * DATAGRAM_BYTES
        return federation / (self.in_bytes + self.out_bytes - 2 * self.relayed_bytes)


def load(demand: Demand, cathedrals: int, costs: Costs) -> Load:
    """One cathedral of a pool in which so many serve this demand, devices spread evenly."""
    others = cathedrals - 1
    infos = demand.ends / INFO_INTERVAL_S / cathedrals
    federated = 2 * infos * others
    # What is relayed between ends at different cathedrals passes both.
    passes = 2.0 - 1.0 / cathedrals
    relayed_bytes = demand.ends * demand.relayed * demand.bits_s / 8 * passes / cathedrals
    cores = (
        infos * (costs.info_s + costs.probe_s + (costs.passed_on_s if others else 0.0))
        + federated / 2 * costs.federated_s
        + relayed_bytes * costs.relayed_s_per_byte
    )
    memory = (
        PROCESS_BYTES + demand.ends * costs.tunnel_bytes + demand.flocks * (OWN.size + PLACES_BYTES)
    )
    return Load(
        infos=infos,
        federated=federated,
        federated_out=federated,
        remembrances=demand.ends / REMEMBRANCE_S / cathedrals,
        relayed_bytes=relayed_bytes,
        cores=cores,
        memory_bytes=memory,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Pools of equal size, whose flocks have no tunnels with each other's."""

    demand: Demand
    pools: int
    cathedrals: int
    """In each pool."""
    load: Load
    """Of each cathedral."""
    worst: Load
    """Of each that is left, with one of its pool dead."""

    @property
    def bundle_bytes(self) -> int:
        """Of all flocks together, once; each cathedral of a pool has those of its own flocks."""
        return self.demand.flocks * OWN.size

    def price(self, machine: Machine) -> float:
        """By the month."""
        machines = self.pools * self.cathedrals
        sent = machines * self.load.out_bytes * MONTH_S
        return machines * machine.price + sent / 1e12 * machine.price_per_terabyte


def lay_out(demand: Demand, cathedrals: int, costs: Costs, machine: Machine) -> Layout:
    """The fewest pools of so many cathedrals each that no machine is fuller than it may be."""
    for pools in range(1, demand.flocks + 1):
        part = dataclasses.replace(demand, devices=math.ceil(demand.devices / pools))
        each = load(part, cathedrals, costs)
        if fits(each, machine):
            break
    worst = load(part, max(1, cathedrals - 1), costs)
    return Layout(demand, pools, cathedrals, each, worst)


def fits(each: Load, machine: Machine) -> bool:
    """Whether a machine bears this with room to spare."""
    return (
        each.cores <= machine.cores * machine.fill
        and each.memory_bytes <= machine.memory_bytes * machine.fill
    )


def largest_mesh(costs: Costs, cores: float = 1.0) -> int:
    """The devices of a flock in which each has a tunnel with each, that one cathedral of so many
    cores can serve, or the most that a flock has."""
    ends = cores * INFO_INTERVAL_S / (costs.info_s + costs.probe_s)
    # n devices have n (n - 1) ends.
    return min(MAX_FLOCK, math.floor((1 + math.sqrt(1 + 4 * ends)) / 2))


def federated_ends(cathedrals: int, costs: Costs, cores: float = 1.0) -> int:
    """Tunnel ends that a pool of so many cathedrals can have, each with so many cores."""
    one = dataclasses.replace(Demand(1, tunnels=1.0), relayed=0.0)
    return math.floor(cores / load(one, cathedrals, costs).cores)
