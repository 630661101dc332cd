"""The rules of liturgies: a device says that it is there, and is told who else is.

Cathedral section 7.3. Other than infos, answers are spaced like what is passed on.
"""

from __future__ import annotations

from collections import deque

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.events import CathedralEvent, LiturgyRegistered
from chancel.protocol.cathedral.federation import FEDERATE_S, Federation
from chancel.protocol.cathedral.infos import REMEMBER_S, send_remembrance
from chancel.protocol.cathedral.liturgies import Liturgies, Liturgy
from chancel.protocol.cathedral.outbox import Client, Outbox
from chancel.protocol.cathedral.permits import Permits, without_domain
from chancel.protocol.cathedral.requests import Said, signature_of
from chancel.protocol.cathedral.settings import Options
from chancel.protocol.cathedral_offers import Opened
from chancel.wire.cathedral import Federated, Request
from chancel.wire.drop import Drop
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.types import Address


class LiturgyRequests:
    """Takes authentic liturgies."""

    def __init__(
        self,
        options: Options,
        permits: Permits,
        liturgies: Liturgies,
        federation: Federation,
        outbox: Outbox,
        events: deque[CathedralEvent],
    ) -> None:
        self._options = options
        self._permits = permits
        self._liturgies = liturgies
        self._federation = federation
        self._outbox = outbox
        self._events = events

    def take(
        self, request: Opened[Request], body: LiturgyBody, client: Client, now: float, wall: float
    ) -> None:
        """Take a client's liturgy.

        Raises ``RemoteProtocolError``: ``FLOCKS_APART`` (one that shows a peer's flock),
        ``DEVICE_NOT_ALLOWED``, ``TABLE_LIMIT``, ``OFFER_REPLAYED``, ``OFFER_LIMIT``; and what
        sending raises, where all is done but the sending.
        """
        if without_domain(request.header.flocks.peer) != 0:
            raise RemoteProtocolError(Drop.FLOCKS_APART)
        entry = self._registered(request, body, client.address, False, now, wall)
        if body.wants_remembrance and now >= entry.remember_at:
            entry.remember_at = now + REMEMBER_S
            send_remembrance(self._options, self._federation, self._outbox, client, now, wall)
        if now >= entry.answer_at:
            entry.answer_at = now + FEDERATE_S
            answer = LiturgyBody(0, entry.group, self._liturgies.seen_by(entry))
            try:
                self._federation.pass_on(request, now)
            finally:
                self._outbox.answer(client, answer, now, wall)

    def take_federated(
        self,
        message: Opened[Federated],
        body: LiturgyBody,
        source: Address,
        now: float,
        wall: float,
    ) -> None:
        """Take a liturgy that another cathedral, ``source``, passed on. Raises as :meth:`take`."""
        own, peer = (without_domain(flock) for flock in message.header.flocks)
        if own != peer:
            raise RemoteProtocolError(Drop.FLOCKS_APART)
        self._registered(message, body, source, True, now, wall)

    def _registered(
        self,
        said: Said,
        body: LiturgyBody,
        address: Address,
        federated: bool,
        now: float,
        wall: float,
    ) -> Liturgy:
        flock = said.header.flocks.own
        self._permits.mbit(flock, said.identity, body.id)
        entry = self._liturgies.find(flock, body)
        if entry is None:
            entry = self._liturgies.add(flock, body, address, now)
            self._events.append(LiturgyRegistered(flock, body.id, address, federated))
        elsewhere = address != entry.address
        entry.freshness.take(said.timestamp, signature_of(said), elsewhere, wall)
        entry.says(body, said.identity, now)
        self._liturgies.move(entry, address, federated)
        return entry
