"""What a cathedral counts, for the operator."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot (cathedral section 4.8).

    Tunnel ends and liturgies registered here (local) and at other cathedrals (federated); relayed
    traffic, and offers of key exchanges, which came in and went out: packets, and bytes out.
    """

    tunnels_local: int
    tunnels_federated: int
    liturgies_local: int
    liturgies_federated: int
    traffic_in: int
    traffic_out: int
    traffic_octets: int
    offers_in: int
    offers_out: int
    offers_octets: int
