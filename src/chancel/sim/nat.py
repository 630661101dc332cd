"""Network address translation as RFC 4787 describes it, for the simulator and the lab.

A translator is two independent choices, *mapping* (when does a new destination get a new public
port?) and *filtering* (who may answer?), and the way ports are picked. The four classic kinds of
"cone" and "symmetric" are rows of :data:`NAT_TYPES`. It sees addresses and times only; whoever
carries the packets rewrites them. For ICMP echo the identifier takes the place of the port.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from collections.abc import Hashable
from types import MappingProxyType

from chancel.wire.types import Address

UDP = 17
"""The IP protocol number that is meant unless another is given."""

FIRST_PORT = 1024
LAST_PORT = 65535

MAX_MAPPINGS = 4096
"""Mappings alive at a time: what a small home router keeps. Beyond, nothing new gets out."""

MAX_PEERS = 1024
"""Destinations that may answer through one mapping; the oldest is forgotten beyond."""

UNREPLIED_S = 30.0
"""How long Linux remembers a UDP packet that nothing answered (nf_conntrack_udp_timeout)."""

MAX_UNREPLIED = 4096
"""Of those; the oldest is forgotten beyond."""


class Dependence(enum.Enum):
    """On how much of the other end's address a decision depends (RFC 4787 sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

    def part(self, remote: Address) -> Hashable:
        """What of ``remote`` counts: two remotes with equal parts are treated alike."""
        match self:
            case Dependence.ENDPOINT_INDEPENDENT:
                return None
            case Dependence.ADDRESS_DEPENDENT:
                return remote.host
            case Dependence.ADDRESS_AND_PORT_DEPENDENT:
                return remote


class PortAllocation(enum.Enum):
    """How the public port of a new mapping is picked; a port in use is never picked."""

    PRESERVING = "preserving"
    """The inner port where it is free, else the next free one."""
    RANDOM = "random"
    SEQUENTIAL = "sequential"


@dataclasses.dataclass(frozen=True, slots=True)
class NatModel:
    """What kind of translator: the behaviours of RFC 4787 by name."""

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    allocation: PortAllocation = PortAllocation.PRESERVING
    lifetime_s: float = 120.0
    """A mapping dies this long after its last outbound packet (REQ-5: at least two minutes)."""
    hairpin: bool = True
    """Whether two inner hosts reach each other by their public addresses (REQ-9)."""
    udp: bool = True
    """Whether UDP gets out at all."""
    clashing: bool = False
    """Whether a packet that comes before we sent anything to its source is taken for the router's
    own, as by a Linux router without a firewall of its own. While it is remembered, what we send
    to that source gets another port, as two flows of one router can't have equal addresses. (A
    mapping that depends on address and port has nothing to clash with.)"""


_EI = Dependence.ENDPOINT_INDEPENDENT
_AD = Dependence.ADDRESS_DEPENDENT
_APD = Dependence.ADDRESS_AND_PORT_DEPENDENT

NAT_TYPES = MappingProxyType(
    {
        "full-cone": NatModel(_EI, _EI),
        "restricted": NatModel(_EI, _AD),
        "port-restricted": NatModel(_EI, _APD),
        "symmetric": NatModel(_APD, _APD, PortAllocation.RANDOM),
        "symmetric-sequential": NatModel(_APD, _APD, PortAllocation.SEQUENTIAL),
    }
)
"""The classic kinds by name, as the command line takes them."""


@dataclasses.dataclass(slots=True)
class _Mapping:
    key: tuple[int, Address, Hashable]
    public: Address
    expires_at: float
    peers: dict[Hashable, float]


class Nat:
    """One translator with one public host address, and its table."""

    def __init__(self, model: NatModel, public_host: str, rng: random.Random) -> None:
        self.model = model
        self.public_host = public_host
        self._rng = rng
        self._next_port = FIRST_PORT
        self._by_inside: dict[tuple[int, Address, Hashable], _Mapping] = {}
        self._by_port: dict[tuple[int, int], _Mapping] = {}
        self._unreplied: dict[tuple[int, int, Address], float] = {}

    def outbound(
        self, source: Address, destination: Address, now: float, protocol: int = UDP
    ) -> Address | None:
        """Translate a packet going out: its public source, or ``None`` where it may not, or the
        table is full."""
        if protocol == UDP and not self.model.udp:
            return None
        key = (protocol, source, self._part(protocol, source, destination, now))
        mapping = self._by_inside.get(key)
        if mapping is None or mapping.expires_at <= now:
            mapping = self._new(key, destination, now)
            if mapping is None:
                return None
        mapping.expires_at = now + self.model.lifetime_s
        peer = self.model.filtering.part(destination)
        mapping.peers.pop(peer, None)
        mapping.peers[peer] = mapping.expires_at
        if len(mapping.peers) > MAX_PEERS:
            del mapping.peers[next(iter(mapping.peers))]
        return mapping.public

    def inbound(
        self, source: Address, destination: Address, now: float, protocol: int = UDP
    ) -> Address | None:
        """Translate a packet coming in: its inner destination, or ``None`` where refused.

        ``destination`` is one of our public addresses. Nothing is refreshed: an outsider must not
        be able to hold a mapping open (RFC 4787 REQ-6).
        """
        if source.host == self.public_host and not self.model.hairpin:
            return None
        mapping = self._by_port.get((protocol, destination.port))
        if mapping is None or destination.host != self.public_host or mapping.expires_at <= now:
            self._remember(protocol, source, destination.port, now)
            return None
        if mapping.peers.get(self.model.filtering.part(source), now) <= now:
            self._remember(protocol, source, destination.port, now)
            return None
        return mapping.key[1]

    def forget(self) -> None:
        """Lose every mapping, as a router that was switched off and on."""
        self._by_inside.clear()
        self._by_port.clear()
        self._unreplied.clear()

    def move(self, public_host: str) -> None:
        """Have another public address from now on, as after a night at many providers."""
        self.forget()
        self.public_host = public_host

    def _part(self, protocol: int, source: Address, destination: Address, now: float) -> Hashable:
        """What of ``destination`` decides about the mapping; all of it where there is a clash."""
        part = self.model.mapping.part(destination)
        if not self.model.clashing:
            return part
        usual, own = (self._by_inside.get((protocol, source, each)) for each in (part, destination))
        if own is not None and own.expires_at > now:
            return destination
        port = max(source.port, FIRST_PORT)
        if usual is not None and usual.expires_at > now:
            if usual.peers.get(self.model.filtering.part(destination), now) > now:
                return part  # what came from there belongs to this flow
            port = usual.public.port
        return destination if self._clashes(protocol, port, destination, now) else part

    def _remember(self, protocol: int, source: Address, port: int, now: float) -> None:
        if self.model.clashing:
            key = protocol, port, source
            self._unreplied.pop(key, None)
            self._unreplied[key] = now + UNREPLIED_S
            if len(self._unreplied) > MAX_UNREPLIED:
                del self._unreplied[next(iter(self._unreplied))]

    def _clashes(self, protocol: int, port: int, destination: Address, now: float) -> bool:
        return self._unreplied.get((protocol, port, destination), now) > now

    def _new(
        self, key: tuple[int, Address, Hashable], destination: Address, now: float
    ) -> _Mapping | None:
        if (stale := self._by_inside.get(key)) is not None:
            self._remove(stale)
        if len(self._by_inside) >= MAX_MAPPINGS:
            for old in [m for m in self._by_inside.values() if m.expires_at <= now]:
                self._remove(old)
            if len(self._by_inside) >= MAX_MAPPINGS:
                return None
        protocol, source, _ = key
        public = Address(self.public_host, self._free_port(protocol, source.port, destination, now))
        mapping = _Mapping(key, public, now + self.model.lifetime_s, {})
        self._by_inside[key] = self._by_port[protocol, public.port] = mapping
        return mapping

    def _free_port(self, protocol: int, inner_port: int, destination: Address, now: float) -> int:
        match self.model.allocation:
            case PortAllocation.PRESERVING:
                port = max(inner_port, FIRST_PORT)
            case PortAllocation.RANDOM:
                port = self._rng.randint(FIRST_PORT, LAST_PORT)
            case PortAllocation.SEQUENTIAL:
                port = self._next_port
        while True:
            holder = self._by_port.get((protocol, port))
            if holder is not None and holder.expires_at <= now:
                self._remove(holder)
            elif holder is not None or self._clashes(protocol, port, destination, now):
                port = port + 1 if port < LAST_PORT else FIRST_PORT
            else:
                break
        self._next_port = port + 1 if port < LAST_PORT else FIRST_PORT
        return port

    def _remove(self, mapping: _Mapping) -> None:
        del self._by_inside[mapping.key]
        del self._by_port[mapping.key[0], mapping.public.port]
