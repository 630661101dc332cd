"""Where a device can be: the routers between it and the public network, by name.

And what theory says of two such places (RFC 4787, RFC 5128): a packet passes directly where each
end can know an address of the other before it sends, or will take one that it could not know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from chancel.sim.nat import NAT_TYPES, Dependence, NatModel, PortAllocation

_EI = Dependence.ENDPOINT_INDEPENDENT
_AD = Dependence.ADDRESS_DEPENDENT
_APD = Dependence.ADDRESS_AND_PORT_DEPENDENT
_STRICTNESS = (_EI, _AD, _APD)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """``routers`` from the public network inwards. ``common``: how many of them, counted from the
    public network, are the other device's as well. ``says``: what it is, and who has such a thing.
    """

    says: str
    routers: tuple[NatModel, ...] = ()
    common: int = 0

    @property
    def udp(self) -> bool:
        """Whether datagrams get out."""
        return all(router.udp for router in self.routers)

    @property
    def mapping(self) -> Dependence:
        """What the whole way out does: the strictest of its routers."""
        return _strictest(router.mapping for router in self.routers)

    @property
    def filtering(self) -> Dependence:
        """What the whole way in does."""
        return _strictest(router.filtering for router in self.routers)


def _strictest(choices: Iterable[Dependence]) -> Dependence:
    return max([_EI, *choices], key=_STRICTNESS.index)


_HOME = NatModel(_EI, _APD)
_CARRIER = NatModel(_EI, _EI, PortAllocation.RANDOM)
_SYMMETRIC = NAT_TYPES["symmetric"]

PLACES: Final = MappingProxyType(
    {
        "public": Place("An address of its own: a rented server, or a firewall that lets UDP in."),
        "full-cone": Place(
            "One public port for everybody, and anybody may use it: a port forward, UPnP, and some"
            " routers of mobile networks.",
            (NAT_TYPES["full-cone"],),
        ),
        "restricted": Place(
            "One public port; whoever was written to may answer, from any port of theirs: older"
            " home routers.",
            (NAT_TYPES["restricted"],),
        ),
        "port-restricted": Place(
            "One public port; only the very address and port that was written to may answer: most"
            " home routers of today.",
            (NAT_TYPES["port-restricted"],),
        ),
        "clashing": Place(
            "As port-restricted, but a packet that comes before one of ours went to its sender"
            " makes ours take another port for half a minute: a Linux machine that masquerades for"
            " others (containers, a router made by hand) and has no rule against strangers.",
            (NatModel(_EI, _APD, clashing=True),),
        ),
        "symmetric": Place(
            "Another random public port for each destination: firewalls of companies and hotels,"
            " OpenBSD's pf, gateways of clouds.",
            (_SYMMETRIC,),
        ),
        "symmetric-sequential": Place(
            "Another public port for each destination, the next one in turn: older firewalls.",
            (NAT_TYPES["symmetric-sequential"],),
        ),
        "symmetric-open": Place(
            "Another random port for each destination, and anybody may use it: rare.",
            (NatModel(_APD, _EI, PortAllocation.RANDOM),),
        ),
        "address-mapped": Place(
            "Another public port for each host that is written to, whose every port may answer:"
            " some firewalls, with persistent NAT switched on.",
            (NatModel(_AD, _AD),),
        ),
        "address-mapped-open": Place(
            "The same, and anybody may use the port: rare.", (NatModel(_AD, _EI),)
        ),
        "address-mapped-strict": Place(
            "The same, and only the very address and port that was written to may answer: some"
            " carriers.",
            (NatModel(_AD, _APD),),
        ),
        "carrier-grade": Place(
            "Two routers, a port-restricted one at home and one of the carrier that keeps to one"
            " port, as RFC 6888 asks: DS-Lite, 4G and 5G at home, Starlink.",
            (_CARRIER, _HOME),
        ),
        "carrier-symmetric": Place(
            "The same with a carrier whose router is symmetric: some mobile networks.",
            (_SYMMETRIC, _HOME),
        ),
        "short-lived": Place(
            "As port-restricted, and whatever is silent for 20 s is forgotten: the worst of mobile"
            " networks.",
            (NatModel(_EI, _APD, lifetime_s=20.0),),
        ),
        "half-minute": Place(
            "The same with 30 s: Linux, where only one side has spoken; many cheap routers.",
            (NatModel(_EI, _APD, lifetime_s=30.0),),
        ),
        "no-udp": Place(
            "UDP is blocked: a guest network that knows the web and nothing else.",
            (NatModel(_EI, _APD, udp=False),),
        ),
    }
)
"""Places of devices that have nothing in common. ``carrier-…``: the carrier's router, then the
one at home."""

NEIGHBOURS: Final = MappingProxyType(
    {
        "one home": Place(
            "Both behind one port-restricted router that turns packets back (hairpin).",
            (_HOME,),
            common=1,
        ),
        "one home without hairpin": Place(
            "Both behind one router that doesn't: many home routers, and Linux by default.",
            (NatModel(_EI, _APD, hairpin=False),),
            common=1,
        ),
        "one office": Place(
            "Both behind one symmetric router that turns packets back.", (_SYMMETRIC,), common=1
        ),
        "one carrier": Place(
            "Each at a home of its own, both customers of one carrier, whose router turns packets"
            " back, as RFC 6888 asks.",
            (_CARRIER, _HOME),
            common=1,
        ),
        "one carrier without hairpin": Place(
            "The same where the carrier's router doesn't.",
            (dataclasses.replace(_CARRIER, hairpin=False), _HOME),
            common=1,
        ),
    }
)
"""Places in which both devices are, and share a router."""


def place(name: str) -> Place:
    """A place by its name. Raises ``KeyError``."""
    return NEIGHBOURS[name] if name in NEIGHBOURS else PLACES[name]


def can_connect(left: Place, right: Place) -> bool:
    """Whether both reach a cathedral."""
    return left.udp and right.udp


def can_be_direct(left: Place, right: Place) -> bool:
    """Whether theory has a way without a relay, for ends that know the addresses by which a third
    party sees them, and guess no ports.

    Two behind one router know each other by its public addresses alone, like everybody: the inner
    ones are in no message of the protocol. So that router has to turn packets back.
    """
    if not can_connect(left, right) or (left.common and not left.routers[0].hairpin):
        return False
    if left.mapping is _EI and right.mapping is _EI:
        return True
    return _takes_strangers(left, right) or _takes_strangers(right, left)


def _takes_strangers(one: Place, other: Place) -> bool:
    """Whether ``other``, of whom nobody knows the port, gets through to ``one`` and back.

    ``one`` has to be where it was seen, and to take packets from a port that it never sent to.
    What it then sends goes where those came from, so whatever ``other`` filters lets it in.
    """
    if one.mapping is _EI:
        return one.filtering is not _APD
    # Each sees the other under an address that nobody else sees. An answer to it comes from yet
    # another one where both map by port, and so on without end.
    ends = one.mapping is not _APD or other.mapping is not _APD
    return one.filtering is _EI and other.filtering is not _APD and ends
