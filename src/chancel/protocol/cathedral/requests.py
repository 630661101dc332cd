"""Opening what clients and other cathedrals say (cathedral sections 4.1 and 5.2).

What costs little is asked first: whether there is such a flock and such a client in it, and whether
its source is worth the work. Only then keys are looked for.
"""

from __future__ import annotations

from chancel.crypto.kdf import OfferKind
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.suite import Suite
from chancel.protocol.cathedral.federation import Federation
from chancel.protocol.cathedral.keys import KnownClients
from chancel.protocol.cathedral.outbox import Client
from chancel.protocol.cathedral.permits import Permits, without_domain
from chancel.protocol.cathedral.tunnels import Tunnel
from chancel.protocol.cathedral_offers import (
    Opened,
    open_federated_untrusted,
    open_request_untrusted,
)
from chancel.protocol.sealing import open_offer_untrusted
from chancel.wire.cathedral import CATHEDRAL, REQUESTS, Federated, Request
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.offer import DATA_BYTES, OfferHeader, OfferLayout, decode_data_untrusted
from chancel.wire.types import Address, Buffer, FlockId, Flocks

Said = Opened[Request] | Opened[Federated]


def signature_of(said: Said) -> bytes:
    """The 64 bytes behind the data of a request."""
    return said.plaintext[DATA_BYTES:]


class Requests:
    """Opens offers for this cathedral."""

    def __init__(
        self, suite: Suite, permits: Permits, keys: KnownClients, federation: Federation
    ) -> None:
        self._suite = suite
        self._permits = permits
        self._keys = keys
        self._federation = federation

    def header_untrusted(self, datagram: Buffer, layout: OfferLayout) -> OfferHeader:
        """Read whose offer it says to be.

        Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``FLOCK_UNKNOWN``, ``CLIENT_UNKNOWN``.
        """
        header = layout.decode_untrusted(datagram)
        self._permits.require_client(header.flocks.own, CathedralId(header.spi))
        return header

    def open_untrusted(
        self,
        header: OfferHeader,
        datagram: Buffer,
        source: Address,
        wall: float,
        layout: OfferLayout,
    ) -> tuple[Opened[Request], Client]:
        """Open a client's request.

        Raises ``RemoteProtocolError``: ``CLIENT_UNKNOWN`` (no keys), ``OFFER_BAD_TAG``,
        ``OFFER_TYPE``, ``OFFER_TIME``, ``OFFER_SIGNATURE``.
        """
        own, peer = header.flocks
        identity = CathedralId(header.spi)
        public = self._keys.public(without_domain(own), identity)
        base = self._base(own, identity)
        request = open_request_untrusted(self._suite, base, public, header, datagram, wall, layout)
        # A liturgy shows no peer's flock: it is about its sender's own.
        flocks = Flocks(own, peer if without_domain(peer) else own)
        return request, Client(flocks, identity, source, base)

    def open_late_untrusted(
        self, header: OfferHeader, datagram: Buffer, source: Address
    ) -> tuple[Opened[Request], Client]:
        """Open a request that was refused for its time alone, by whatever clock it has.

        Raises ``RemoteProtocolError`` as :meth:`open_untrusted`.
        """
        base = self._base(header.flocks.own, CathedralId(header.spi))
        kind = OfferKind.CATHEDRAL
        plaintext = open_offer_untrusted(self._suite, kind, base, header, datagram, CATHEDRAL)
        timestamp, _ = decode_data_untrusted(plaintext[:DATA_BYTES], REQUESTS)
        return self.open_untrusted(header, datagram, source, timestamp, CATHEDRAL)

    def client(self, tunnel: Tunnel) -> Client:
        """Whoever registered this end. Raises ``RemoteProtocolError`` (``CLIENT_UNKNOWN``)."""
        flocks, identity = tunnel.flocks, tunnel.identity
        base = self._base(flocks.own, identity)
        return Client(flocks, identity, tunnel.route.destination, base)

    def open_federated_untrusted(
        self, header: OfferHeader, datagram: Buffer, now: float, wall: float
    ) -> Opened[Federated]:
        """Open what another cathedral said of a client.

        Raises ``RemoteProtocolError`` as :meth:`open_untrusted`, and ``NO_SECRET``.
        """
        own = header.flocks.own
        public = self._keys.public(without_domain(own), CathedralId(header.spi))
        base = self._federation.base(own, now)
        return open_federated_untrusted(self._suite, base, public, header, datagram, wall)

    def _base(self, own: FlockId, identity: CathedralId) -> bytes:
        with self._keys.secret(without_domain(own), identity).reveal() as secret:
            return client_offer_base(self._suite, secret, own)
