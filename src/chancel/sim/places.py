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
    """``routers`` from the public network inwards. Without ``udp`` no datagram gets out or in."""

    routers: tuple[NatModel, ...] = ()
    udp: bool = True

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


PLACES: Final = MappingProxyType(
    {
        "public": Place(),
        **{name: Place((model,)) for name, model in NAT_TYPES.items()},
        "address-mapped": Place((NatModel(_AD, _AD),)),
        "symmetric-open": Place((NatModel(_APD, _EI, PortAllocation.RANDOM),)),
        "carrier-grade": Place(
            (NatModel(_EI, _EI, PortAllocation.RANDOM), NatModel(_EI, _APD)),
        ),
        "carrier-symmetric": Place(
            (NatModel(_APD, _APD, PortAllocation.RANDOM), NatModel(_EI, _APD)),
        ),
        "short-lived": Place((NatModel(_EI, _APD, lifetime_s=20.0),)),
        "no-udp": Place(udp=False),
    }
)
"""The places of the matrix. ``carrier-…``: two routers, one at home and one of the carrier."""


def can_connect(left: Place, right: Place) -> bool:
    """Whether both reach a cathedral."""
    return left.udp and right.udp


def can_be_direct(left: Place, right: Place) -> bool:
    """Whether theory has a way without a relay, for ends that know the addresses by which a third
    party sees them, and guess no ports.
    """
    if not can_connect(left, right):
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
