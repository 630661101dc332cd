"""Telling both ends of a tunnel, at the same moment, that they can reach each other.

The reference tells each end with the answer to its next info, so that one begins to send up to five
seconds before the other, whose NAT lets nothing in until then. Here both are told as soon as it is
known: clients take an answer whenever it comes. An end that is at another cathedral is told by that
one, which hears of it just as fast.

A client can make its own NAT look one way and then the other. So an end is told in this way once in
a few seconds; and every info is answered besides.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from chancel.protocol.cathedral.federation import Federation
from chancel.protocol.cathedral.outbox import Outbox
from chancel.protocol.cathedral.requests import Requests
from chancel.protocol.cathedral.settings import Options
from chancel.protocol.cathedral.tunnels import Tunnel, Tunnels, peer_key
from chancel.wire.info import AnswerBody, encode_local
from chancel.wire.types import Address

TELL_S: Final = 3.0
"""Between two times that an end is told without having asked."""


class Places(NamedTuple):
    """Where the two ends of a tunnel reach each other."""

    of_end: Address
    of_peer: Address


def meeting_places(tunnel: Tunnel, peer: Tunnel) -> Places | None:
    """Where these ends may reach each other; ``None`` if they have to be relayed (section 4.4.7).

    Two that prove paths lose nothing by a try, so nothing is judged for them.
    """
    if tunnel.proves_paths and peer.proves_paths:
        own, other = tunnel.seen, peer.seen
        return None if own is None or other is None else Places(own, other)
    own, other = tunnel.public, peer.public
    if own is None or other is None or own.host == other.host:
        return None
    return Places(own, other) if tunnel.reachable and peer.reachable else None


class Meetings:
    """Keeps what is known of where ends can be reached, and tells them what follows from it."""

    def __init__(
        self,
        options: Options,
        tunnels: Tunnels,
        requests: Requests,
        federation: Federation,
        outbox: Outbox,
    ) -> None:
        self._p2p_sync = options.p2p_sync
        self._tunnels = tunnels
        self._requests = requests
        self._federation = federation
        self._outbox = outbox

    def peer(self, tunnel: Tunnel) -> Tunnel | None:
        """The other end, if it is known, and near enough to be told of."""
        peer = self._tunnels.find(peer_key(tunnel.key))
        return None if peer is None or (peer.federated and not self._p2p_sync) else peer

    def found(
        self, tunnel: Tunnel, public: Address | None, reachable: bool, now: float, wall: float
    ) -> None:
        """Where an end is seen, and whether it can be reached there: news for both, maybe.

        Raises what sending raises, where all is done but the sending.
        """
        before = self.places(tunnel)
        tunnel.public, tunnel.reachable = public, reachable
        self.tell_news(tunnel, before, now, wall)

    def places(self, tunnel: Tunnel) -> Places | None:
        """Where the ends of a tunnel may reach each other, by what is known now."""
        peer = self.peer(tunnel)
        return None if peer is None else meeting_places(tunnel, peer)

    def tell_news(self, tunnel: Tunnel, before: Places | None, now: float, wall: float) -> None:
        """Tell both ends, if they may meet elsewhere than ``before``. Raises as :meth:`found`."""
        peer = self.peer(tunnel)
        places = None if peer is None else meeting_places(tunnel, peer)
        if peer is None or places is None or places == before:
            return
        if now < max(tunnel.tell_at, peer.tell_at):
            return
        tunnel.tell_at = peer.tell_at = now + TELL_S
        self._tell(tunnel, peer, places.of_peer, now, wall)
        self._tell(peer, tunnel, places.of_end, now, wall)
        if peer.federated and not tunnel.federated:
            self._federation.tell_whereabouts(tunnel, now, wall)

    def _tell(self, tunnel: Tunnel, other: Tunnel, peer: Address, now: float, wall: float) -> None:
        if not tunnel.federated:
            local, proves = encode_local(tunnel.route.destination), tunnel.proves_paths
            body = AnswerBody(peer, local, peer_proves_paths=proves and other.proves_paths)
            self._outbox.answer(self._requests.client(tunnel), body, now, wall)
