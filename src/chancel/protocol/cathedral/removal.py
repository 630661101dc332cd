"""What ends a registration: silence, or other settings."""

from __future__ import annotations

from collections import deque

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.events import (
    CathedralEvent,
    Ending,
    LiturgyEnded,
    TunnelEnded,
)
from chancel.protocol.cathedral.liturgies import Liturgies, Liturgy
from chancel.protocol.cathedral.permits import Permits
from chancel.protocol.cathedral.tunnels import Tunnel, Tunnels
from chancel.wire.types import Address

EXPIRY_S = 120.0
"""After the last info or liturgy; clients send one every five seconds."""


class Removal:
    """Takes out of both tables what must not be there any longer."""

    def __init__(
        self, tunnels: Tunnels, liturgies: Liturgies, events: deque[CathedralEvent]
    ) -> None:
        self._tunnels = tunnels
        self._liturgies = liturgies
        self._events = events

    def expire(self, now: float) -> None:
        """Forget whoever was silent for too long."""
        for tunnel in [each for each in self._tunnels if now - each.seen_at >= EXPIRY_S]:
            self._end_tunnel(tunnel, Ending.SILENT)
        for entry in [each for each in self._liturgies if now - each.seen_at >= EXPIRY_S]:
            self._end_liturgy(entry, Ending.SILENT)

    def enforce(self, permits: Permits, members: frozenset[Address]) -> None:
        """Forget what is not allowed now, or is at a cathedral that doesn't belong to us now; the
        bandwidth of the others is what is set now.
        """
        for tunnel in list(self._tunnels):
            try:
                permits.require_together(tunnel.flocks)
                mbit = permits.mbit(tunnel.flocks.own, tunnel.identity, tunnel.device)
            except RemoteProtocolError:
                self._end_tunnel(tunnel, Ending.NOT_ALLOWED)
                continue
            tunnel.route.set_limit(mbit)
            if tunnel.federated and tunnel.route.destination not in members:
                self._end_tunnel(tunnel, Ending.CATHEDRAL_GONE)
        for entry in list(self._liturgies):
            try:
                permits.mbit(entry.flock, entry.identity, entry.device)
            except RemoteProtocolError:
                self._end_liturgy(entry, Ending.NOT_ALLOWED)
                continue
            if entry.federated and entry.address not in members:
                self._end_liturgy(entry, Ending.CATHEDRAL_GONE)

    def _end_tunnel(self, tunnel: Tunnel, reason: Ending) -> None:
        self._tunnels.remove(tunnel)
        self._events.append(TunnelEnded(tunnel.flocks, tunnel.id, reason))

    def _end_liturgy(self, entry: Liturgy, reason: Ending) -> None:
        self._liturgies.remove(entry)
        self._events.append(LiturgyEnded(entry.flock, entry.device, reason))
