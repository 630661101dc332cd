"""A cathedral without IO.

Datagrams go in as they come, from either socket: clients' offers, those of other cathedrals, and
what clients send each other. What a host can pass on without looking inside it does itself, by the
route that :meth:`Cathedral.route` gives it; everything else is done by :meth:`Cathedral.receive`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.cathedral.admission import FORGED, REFUSED, Admission, Registered
from chancel.protocol.cathedral.ambries import Ambries
from chancel.protocol.cathedral.events import CathedralEvent
from chancel.protocol.cathedral.federation import Federation, others
from chancel.protocol.cathedral.infos import Infos
from chancel.protocol.cathedral.keys import ClientKeys, KnownClients, SyncKeys
from chancel.protocol.cathedral.latecomers import Latecomers
from chancel.protocol.cathedral.liturgies import Liturgies
from chancel.protocol.cathedral.liturgy_requests import LiturgyRequests
from chancel.protocol.cathedral.meetings import Meetings
from chancel.protocol.cathedral.outbox import Outbox
from chancel.protocol.cathedral.permits import Permits
from chancel.protocol.cathedral.relay import Relay
from chancel.protocol.cathedral.removal import Removal
from chancel.protocol.cathedral.requests import Requests
from chancel.protocol.cathedral.route import Relayed, Route
from chancel.protocol.cathedral.settings import Options, Settings
from chancel.protocol.cathedral.shrouds import Shrouds
from chancel.protocol.cathedral.statistics import Statistics
from chancel.protocol.cathedral.tunnels import Tunnels
from chancel.protocol.events import MAX_EVENTS
from chancel.wire import offer, traffic
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.drop import Drop
from chancel.wire.info import InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferLayout
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address, Buffer

__all__ = ["Cathedral", "Options", "Route", "Settings", "Statistics"]

EXPIRE_EVERY_S: Final = 10.0
"""Between two looks for what was silent for too long."""

_MAGIC_BYTES: Final = len(offer.MAGIC)

_Handler = Callable[[Buffer, Address, float, float], None]


class Cathedral:
    """One cathedral. Feed it, drain it, and wake it when it wants to be woken.

    Nothing that arrives makes it raise: what is refused is counted in :attr:`drops`. Sources are
    IPv4 addresses, as clients are told of no others: ``LocalProtocolError``. Secrets are asked for
    when they are needed. Settings with more than 31 other cathedrals raise ``LocalProtocolError``
    and change nothing.
    """

    def __init__(
        self,
        suite: Suite,
        options: Options,
        keys: ClientKeys,
        sync: SecretSource,
        settings: Settings,
        now: float,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self._options = options
        self._events: deque[CathedralEvent] = deque(maxlen=MAX_EVENTS)
        self._permits = Permits()
        self._keys = KnownClients(keys, self._events)
        self.relayed = Relayed(self.drops)
        """For who relays by what :meth:`route` has said before: what he passed on is counted there,
        and whether that still holds is seen there."""
        registered = Registered()
        self._admission = Admission(registered, now)
        self._tunnels = Tunnels(self.relayed, registered)
        self._routes = self._tunnels.routes
        self._liturgies = Liturgies(registered)
        sync_keys = SyncKeys(sync, self._events, now)
        self._shrouds = None
        if options.shroud:
            self._shrouds = Shrouds(suite, self._keys, sync_keys, self._admission)
        self._outbox = Outbox(suite, options, self._shrouds)
        self._federation = Federation(suite, options, sync_keys, self._outbox)
        self._requests = Requests(suite, self._permits, self._keys, self._federation)
        meetings = Meetings(
            *(options, self._tunnels, self._requests, self._federation, self._outbox)
        )
        self._ambries = Ambries(self._permits, self._tunnels, self._requests, self._outbox)
        self._infos = Infos(
            *(options, self._permits, self._tunnels, meetings, self._ambries),
            *(self._federation, self._outbox, self._events),
        )
        self._latecomers = Latecomers(self._permits, self._requests, self._outbox)
        self._liturgy_requests = LiturgyRequests(
            *(options, self._permits, self._liturgies),
            *(self._federation, self._outbox, self._events),
        )
        self._relay = Relay(self._permits, self._tunnels, self._outbox, self.relayed)
        self._removal = Removal(self._tunnels, self._liturgies, self._events)
        self._expire_at = now + EXPIRE_EVERY_S
        self._handlers: dict[bytes, _Handler] = {
            CATHEDRAL.magic: self._receive_request,
            NAT.magic: self._receive_probe,
            FEDERATION.magic: self._receive_federated,
            offer.MAGIC: self._receive_exchange,
        }
        self.reconfigure(settings, now)

    def __repr__(self) -> str:
        tunnels, liturgies = len(self._tunnels), len(self._liturgies)
        return f"<Cathedral {self._options.address} tunnels={tunnels} liturgies={liturgies}>"

    def reconfigure(self, settings: Settings, now: float) -> None:
        """Take other settings: what they no longer allow ends now, and limits change at once.

        May want a wake at once.
        """
        members = others(settings.federation, self._options.address)
        before = self._permits.generations()
        self._permits.adopt(settings)
        if self._permits.generations() - before:
            self._ambries.spread(now)
        self._keys.forget()
        self._federation.members = members
        self._removal.enforce(self._permits, frozenset(members))
        if self._shrouds is not None:
            self._shrouds.adopt(self._permits.clients(), members)

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram, whatever it is and whichever socket it came to."""
        if ":" in source.host:
            raise LocalProtocolError(f"{source} is no IPv4 address: listen on an IPv4 socket")
        try:
            self._receive_untrusted(datagram, source, now, wall)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1

    def route(self, head: bytes, source: tuple[object, ...] | None = None) -> Route | None:
        """The fast path, without a shroud: where traffic with these first 32 bytes goes.

        It is for datagrams of 50 to 1522 bytes, as many of them as the route admits. ``None``: give
        each to :meth:`receive`, which does what is to be done, and counts it. With ``source``,
        nothing is ever sent back to where it came from, so that two cathedrals that each believe a
        client to be at the other don't play ball with its traffic.
        """
        route = self._routes.get(head[:4] + head[16:32])
        if route is not None and route.federated and route.destination == source:
            return None
        return route

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain what is to be sent, and where to; all from the main socket."""
        return self._outbox.drain()

    def wake_at(self) -> float:
        """When to be woken."""
        return min(self._expire_at, self._ambries.wake_at())

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        self._ambries.wake(now, wall)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self._removal.expire(now)

    def statistics(self) -> Statistics:
        """A snapshot of this moment."""
        tunnels, liturgies = self._tunnels.federated, self._liturgies.federated
        return Statistics(
            tunnels_local=len(self._tunnels) - tunnels,
            tunnels_federated=tunnels,
            liturgies_local=len(self._liturgies) - liturgies,
            liturgies_federated=liturgies,
            traffic_in=self.relayed.packets_in,
            traffic_out=self.relayed.packets_out,
            traffic_octets=self.relayed.octets,
            offers_in=self._relay.offers_in,
            offers_out=self._relay.offers_out,
            offers_octets=self._relay.offer_octets,
        )

    def reset_statistics(self) -> None:
        """Count relayed traffic and offers from zero."""
        self._relay.reset_counts()

    def next_event(self) -> CathedralEvent | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    def _receive_untrusted(
        self, datagram: Buffer, source: Address, now: float, wall: float
    ) -> None:
        if source.port == 0:
            raise RemoteProtocolError(Drop.NO_PEER)
        if len(datagram) > MAX_DATAGRAM_BYTES:
            raise RemoteProtocolError(Drop.TOO_LONG)
        if self._shrouds is not None:
            datagram = self._shrouds.unmasked_untrusted(bytes(datagram), source, now)
        if len(datagram) < traffic.OVERHEAD_BYTES:
            raise RemoteProtocolError(Drop.TOO_SHORT)
        handler = self._handlers.get(bytes(datagram[:_MAGIC_BYTES]))
        if handler is None:
            self._relay.traffic_untrusted(datagram, source, now)
        else:
            handler(datagram, source, now, wall)

    def _receive_exchange(
        self, datagram: Buffer, source: Address, now: float, _wall: float
    ) -> None:
        self._relay.offer_untrusted(datagram, source, now)

    def _receive_request(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        self._receive_client(datagram, source, now, wall, CATHEDRAL)

    def _receive_probe(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        self._receive_client(datagram, source, now, wall, NAT)

    def _receive_client(
        self, datagram: Buffer, source: Address, now: float, wall: float, layout: OfferLayout
    ) -> None:
        header = self._requests.header_untrusted(datagram, layout)
        self._admission.admit(source, now)
        try:
            request, client = self._requests.open_untrusted(header, datagram, source, wall, layout)
            match request.body:
                case LiturgyBody() as body:
                    self._liturgy_requests.take(request, body, client, now, wall)
                case InfoBody() as body if layout is NAT:
                    self._infos.take_probe(request, body, source, now, wall)
                case InfoBody() as body:
                    self._infos.take(request, body, client, now, wall)
        except RemoteProtocolError as error:
            self._admission.failed(source, _cost(error.reason), now)
            if error.reason is Drop.OFFER_TIME and layout is CATHEDRAL:
                self._latecomers.tell_untrusted(header, datagram, source, now, wall)
            raise

    def _receive_federated(
        self, datagram: Buffer, source: Address, now: float, wall: float
    ) -> None:
        self._federation.require_member(source)
        header = self._requests.header_untrusted(datagram, FEDERATION)
        message = self._requests.open_federated_untrusted(header, datagram, now, wall)
        match message.body:
            case LiturgyBody() as body:
                self._liturgy_requests.take_federated(message, body, source, now, wall)
            case PeerInfoBody() as body:
                self._infos.take_whereabouts(message, body, source, now, wall)
            case InfoBody() as body:
                self._infos.take_federated(message, body, source, now, wall)


def _cost(reason: Drop) -> float:
    """What a refusal is worth as a debt of its source."""
    match reason:
        case Drop.NO_SECRET:
            return 0.0  # the operator's fault
        case Drop.OFFER_BAD_TAG | Drop.CLIENT_UNKNOWN:
            return FORGED
        case _:
            return REFUSED
