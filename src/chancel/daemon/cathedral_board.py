"""What the keeper's board says of a tunnel's cathedrals and of where its peer is."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from typing import Any

from chancel.daemon.records import IN_VAIN, NOWHERE, TROUBLES
from chancel.daemon.run import pack_address
from chancel.protocol.whereabouts import Whereabouts
from chancel.wire.grace import Grace, MtuProbe
from chancel.wire.types import Address


@dataclasses.dataclass(slots=True)
class CathedralBoard:
    """The fields of a ``KeeperRecord`` that are about it.

    ``is_urgent``: others have to act on a change since it was last set to false.
    """

    target: bytes = NOWHERE
    target_at: float = 0.0
    direct: int = 0
    candidate: bytes = NOWHERE
    candidate_spoke: int = 0
    heartbeats: int = 0
    probes: int = 0
    probe_size: int = 0
    cathedral: bytes = NOWHERE
    cathedral_at: float = 0.0
    cathedral_heard_at: float = 0.0
    cathedral_silent_at: float = 0.0
    announced_at: float = 0.0
    ambry_at: float = 0.0
    trouble: int = 0
    trouble_at: float = 0.0
    is_urgent: bool = True

    def fields(self) -> dict[str, Any]:
        """As the record has them."""
        fields = dataclasses.asdict(self)
        del fields["is_urgent"]
        return fields

    def peer_is(self, whereabouts: Whereabouts) -> None:
        """Where to send, and where the peer may be as well."""
        address, candidate = whereabouts.address, whereabouts.candidate
        others = set(whereabouts.acknowledgements_to()) - {address}
        told = _packed(address), _packed(candidate), int(whereabouts.direct), len(others)
        if told != (self.target, self.candidate, self.direct, self.candidate_spoke):
            self.target, self.candidate, self.direct, self.candidate_spoke = told
            self.is_urgent = True

    def has_to_try(self, grace: Grace) -> None:
        """heaven-rx has to send this to where the peer may be."""
        if isinstance(grace, MtuProbe):
            self.probes = _next(self.probes)
            self.probe_size = grace.size
        else:
            self.heartbeats = _next(self.heartbeats)
        self.is_urgent = True

    def cathedral_is(self, address: Address | None, now: float) -> None:
        """Another cathedral is in use."""
        self.cathedral, self.cathedral_at = _packed(address), now
        self.cathedral_heard_at = self.announced_at = 0.0

    def suffers(self, trouble: str, now: float) -> None:
        """Something is wrong: one of ``TROUBLES``."""
        self.trouble, self.trouble_at = TROUBLES.index(trouble), now

    def was_left_in_vain(self, now: float) -> None:
        """A cathedral promised the peer and brought nothing; what is worse stays on the board."""
        if not self.trouble or TROUBLES[self.trouble] == IN_VAIN:
            self.suffers(IN_VAIN, now)

    def recovers(self, troubles: Container[str]) -> None:
        """None of these is the case any more."""
        if TROUBLES[self.trouble] in troubles:
            self.trouble, self.trouble_at = 0, 0.0


def _packed(address: Address | None) -> bytes:
    return NOWHERE if address is None else pack_address(address)


def _next(count: int) -> int:
    """It only has to be another number, of 32 bits."""
    return (count + 1) & 0xFFFF_FFFF
