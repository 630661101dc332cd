"""The rules of infos: registering a tunnel's end, and telling it where the other one is.

Cathedral section 4.4. What one info causes goes out in this order: the answer, a remembrance, an
ambry, and to each other cathedral the info itself and what is known of the end's address.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.ambries import Ambries
from chancel.protocol.cathedral.events import (
    CathedralEvent,
    TunnelRegistered,
    TunnelRestarted,
)
from chancel.protocol.cathedral.federation import FEDERATE_S, Federation
from chancel.protocol.cathedral.freshness import Freshness
from chancel.protocol.cathedral.meetings import Meetings, meeting_places
from chancel.protocol.cathedral.outbox import Client, Outbox
from chancel.protocol.cathedral.permits import Permits
from chancel.protocol.cathedral.requests import Said, signature_of
from chancel.protocol.cathedral.settings import Options
from chancel.protocol.cathedral.tunnels import Tunnel, Tunnels, key_of
from chancel.protocol.cathedral_offers import Opened
from chancel.wire.cathedral import Federated, Request
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody, encode_local
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address

REMEMBER_S: Final = 15.0
"""Between two remembrances for one tunnel or device."""


class Infos:
    """Takes authentic infos, and what other cathedrals say of the ends that they are about."""

    def __init__(
        self,
        options: Options,
        permits: Permits,
        tunnels: Tunnels,
        meetings: Meetings,
        ambries: Ambries,
        federation: Federation,
        outbox: Outbox,
        events: deque[CathedralEvent],
    ) -> None:
        self._options = options
        self._permits = permits
        self._tunnels = tunnels
        self._meetings = meetings
        self._ambries = ambries
        self._federation = federation
        self._outbox = outbox
        self._events = events

    def take(
        self, request: Opened[Request], body: InfoBody, client: Client, now: float, wall: float
    ) -> None:
        """Take a client's info.

        Raises ``RemoteProtocolError``: ``FLOCK_UNKNOWN``, ``FLOCKS_APART``, ``DEVICE_NOT_ALLOWED``,
        ``TABLE_LIMIT``, ``OFFER_REPLAYED``, ``OFFER_LIMIT``; and what sending raises, where all is
        done but the sending.
        """
        tunnel, previous = self._registered(request, body, client.address, False, now, wall)
        if body.instance != tunnel.instance:
            self._restart(tunnel, now)
        else:
            self._answer(tunnel, previous, client, now, wall)
            if body.wants_remembrance and now >= tunnel.remember_at:
                tunnel.remember_at = now + REMEMBER_S
                send_remembrance(self._options, self._federation, self._outbox, client, now, wall)
        tunnel.generation = None if body.skips_ambry else body.generation
        if tunnel.generation is not None:
            self._ambries.hand_out(body.tunnel, tunnel.generation, client, now, wall)
        before = self._meetings.places(tunnel)
        self._refresh(tunnel, body, client.address, False, now)
        if now >= tunnel.federate_at:
            tunnel.federate_at = now + FEDERATE_S
            self._federation.pass_on(request, now)
            self._federation.tell_whereabouts(tunnel, now, wall)
        if tunnel.proves_paths:
            self._meetings.tell_news(tunnel, before, now, wall)

    def take_federated(
        self,
        message: Opened[Federated],
        body: InfoBody,
        source: Address,
        now: float,
        wall: float,
    ) -> None:
        """Take an info that another cathedral, ``source``, passed on. Raises as :meth:`take`."""
        tunnel, _ = self._registered(message, body, source, True, now, wall)
        if body.instance != tunnel.instance:
            self._restart(tunnel, now)
        self._refresh(tunnel, body, source, True, now)

    def take_probe(
        self,
        request: Opened[Request],
        body: InfoBody,
        source: Address,
        now: float,
        wall: float,
    ) -> None:
        """Take a client's message of NAT detection: does it come from where its info came from?

        Raises ``RemoteProtocolError`` as :meth:`take`, and ``TUNNEL_UNKNOWN``.
        """
        self._permits.require_tunnel(request.header.flocks, request.identity, body.tunnel)
        tunnel = self._tunnels.find(key_of(request.header.flocks, body.tunnel))
        if tunnel is None:
            raise RemoteProtocolError(Drop.TUNNEL_UNKNOWN)
        if tunnel.nat_freshness is None:
            tunnel.nat_freshness = Freshness()
        tunnel.nat_freshness.take(request.timestamp, signature_of(request), True, wall)
        if tunnel.federated:
            return
        if source != tunnel.route.destination:
            self._meetings.found(tunnel, None, False, now, wall)
        elif now >= tunnel.settles_at:
            self._meetings.found(tunnel, source, True, now, wall)

    def take_whereabouts(
        self,
        message: Opened[Federated],
        body: PeerInfoBody,
        source: Address,
        now: float,
        wall: float,
    ) -> None:
        """Take what another cathedral, ``source``, knows of where a client of its can be reached.

        Raises ``RemoteProtocolError`` as :meth:`take_probe`, and ``FEDERATION_SOURCE`` if the
        client is at another one: only its signed info can take it from there.
        """
        if not self._options.p2p_sync:
            return
        self._permits.require_tunnel(message.header.flocks, message.identity, body.tunnel)
        tunnel = self._tunnels.find(key_of(message.header.flocks, body.tunnel))
        if tunnel is None or not tunnel.federated:
            raise RemoteProtocolError(Drop.TUNNEL_UNKNOWN)
        if tunnel.route.destination != source:
            raise RemoteProtocolError(Drop.FEDERATION_SOURCE)
        self._meetings.found(tunnel, body.address, body.reachable, now, wall)

    def _registered(
        self,
        said: Said,
        body: InfoBody,
        address: Address,
        federated: bool,
        now: float,
        wall: float,
    ) -> tuple[Tunnel, Address | None]:
        """The end that an info is about, and where it was before, ``None`` if it is new."""
        flocks, identity = said.header.flocks, said.identity
        mbit = self._permits.require_tunnel(flocks, identity, body.tunnel)
        key = key_of(flocks, body.tunnel)
        tunnel = self._tunnels.find(key)
        previous = None if tunnel is None else tunnel.route.destination
        if tunnel is None:
            tunnel = self._tunnels.add(key, identity, body.instance, address, federated, mbit, now)
            self._events.append(TunnelRegistered(flocks, body.tunnel, identity, address, federated))
        elsewhere = address != tunnel.route.destination
        tunnel.freshness.take(said.timestamp, signature_of(said), elsewhere, wall)
        if identity != tunnel.identity:
            tunnel.identity = identity
            tunnel.route.set_limit(mbit)
        return tunnel, previous

    def _restart(self, tunnel: Tunnel, now: float) -> None:
        tunnel.restarted(now)
        self._events.append(TunnelRestarted(tunnel.flocks, tunnel.id))

    def _refresh(
        self, tunnel: Tunnel, body: InfoBody, address: Address, federated: bool, now: float
    ) -> None:
        tunnel.seen_at = now
        tunnel.instance = body.instance
        tunnel.proves_paths = body.proves_paths
        self._tunnels.receive_under(tunnel, body.receiving, body.pending)
        self._tunnels.move(tunnel, address, federated)

    def _answer(
        self, tunnel: Tunnel, previous: Address | None, client: Client, now: float, wall: float
    ) -> None:
        """Say where the other end is, if it is known and near enough (section 4.4.7)."""
        peer = self._meetings.peer(tunnel)
        if peer is None:
            return
        places = meeting_places(tunnel, peer)
        address = self._options.address if places is None else places.of_peer
        same = (
            tunnel.public is not None
            and peer.public is not None
            and tunnel.public.host == peer.public.host
            and now >= max(tunnel.settles_at, peer.settles_at)
        )
        proves = tunnel.proves_paths and peer.proves_paths
        body = AnswerBody(address, encode_local(previous), same, proves)
        self._outbox.answer(client, body, now, wall)


def send_remembrance(
    options: Options,
    federation: Federation,
    outbox: Outbox,
    client: Client,
    now: float,
    wall: float,
) -> None:
    """Tell a client of all cathedrals, this one first; raises ``RemoteProtocolError`` as sending
    does.
    """
    outbox.answer(client, RemembranceBody((options.address, *federation.members)), now, wall)
