"""The other cathedrals: what is passed on to them, and what they say.

Nothing that came from one goes to another: each has to know all (cathedral section 5.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from chancel.crypto.kdf_cathedral import federation_offer_base
from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.cathedral.keys import SyncKeys
from chancel.protocol.cathedral.outbox import Outbox
from chancel.protocol.cathedral.settings import MAX_FEDERATION, Options
from chancel.protocol.cathedral.tunnels import Tunnel
from chancel.protocol.cathedral_offers import Opened, seal_passed_on, seal_peer_info
from chancel.wire.cathedral import Request
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address, FlockId, Flocks

FEDERATE_S = 3.0
"""Between two times that one tunnel or device is passed on."""


def others(federation: Iterable[Address], own: Address) -> tuple[Address, ...]:
    """The federation without this cathedral itself, in its order.

    Raises ``LocalProtocolError`` for more than 31.
    """
    found = tuple(address for address in federation if address != own)
    if len(found) > MAX_FEDERATION:
        raise LocalProtocolError(
            f"a federation of {len(found)} other cathedrals: {MAX_FEDERATION} at most have room in"
            " what clients are told"
        )
    return found


class Federation:
    """Who they are, and the way to them."""

    def __init__(self, suite: Suite, options: Options, sync: SyncKeys, outbox: Outbox) -> None:
        self.members: tuple[Address, ...] = ()
        self._suite = suite
        self._sync = sync
        self._p2p_sync = options.p2p_sync
        self._outbox = outbox

    def base(self, flock: FlockId, now: float) -> bytes:
        """The base key of offers about clients of this flock, with domain.

        Raises ``RemoteProtocolError`` (``NO_SECRET``).
        """
        with self._sync.secret(now).reveal() as secret:
            return federation_offer_base(self._suite, secret, flock)

    def require_member(self, source: Address) -> None:
        """Raise ``RemoteProtocolError`` (``FEDERATION_SOURCE``) for anybody else."""
        if source not in self.members:
            raise RemoteProtocolError(Drop.FEDERATION_SOURCE)

    def pass_on(self, request: Opened[Request], now: float) -> None:
        """Pass a client's request on, as it was signed. Raises ``RemoteProtocolError``
        (``NO_SECRET``).
        """
        if self.members:
            flocks = request.header.flocks
            base = self.base(flocks.own, now)
            offer = seal_passed_on(self._suite, base, request)
            self._send(offer, flocks, request.identity, now)

    def tell_whereabouts(self, tunnel: Tunnel, now: float, wall: float) -> None:
        """Tell where a tunnel's end can be reached, or nothing of that, unless it is wanted.

        Raises ``RemoteProtocolError`` (``NO_SECRET``).
        """
        if self.members:
            flocks, identity = tunnel.flocks, tunnel.identity
            base = self.base(flocks.own, now)
            body = PeerInfoBody(tunnel.id, None, reachable=False)
            if self._p2p_sync:
                body = PeerInfoBody(tunnel.id, tunnel.route.destination, tunnel.reachable)
            offer = seal_peer_info(self._suite, base, flocks, identity, int(wall), body)
            self._send(offer, flocks, identity, now)

    def _send(self, offer: bytes, flocks: Flocks, identity: CathedralId, now: float) -> None:
        for address in self.members:
            self._outbox.send(offer, address, flocks, identity, now)
