"""Passing on what clients say to each other, which a cathedral can neither read nor judge.

Only the receiver's end and the flocks decide (cathedral sections 4.5 and 4.6), not the source's
address: a device that roams, or whose NAT gave it another port, sends from an address that nobody
knows for up to five seconds; and a client of another cathedral sends through that one. What that
leaves to strangers who know an SPI is to use up a bucket with packets that their receiver drops.

A receiver reports its SPIs with its next info, but its peer uses a new one as soon as they have
agreed on it: in the reference all traffic of up to five seconds is lost, at the start and whenever
keys change. So the first half of an SPI, which names the receiver's tunnel, is enough for packets
from where the tunnel's other end is registered: from that client, or from the cathedral it is at.
The newest such SPI is *provisional*: it has a route like those that were reported, until the
receiver's next info. It lets those in who know it, or who can send in the name of that address, and
they could do no more than with a reported one. Packets from anywhere else need one of those.

With a mask the same is done to what is under it, and the receiver gets a mask of its own.
"""

from __future__ import annotations

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.outbox import Outbox
from chancel.protocol.cathedral.permits import Permits
from chancel.protocol.cathedral.route import Relayed
from chancel.protocol.cathedral.tunnels import Tunnel, Tunnels, flocks_of, peer_key, receiver_key
from chancel.wire import offer, traffic
from chancel.wire.drop import Drop
from chancel.wire.types import Address, Buffer, Spi

_SENDER = slice(8, 26)
"""Where an offer's header has the key of its sender's end: both flocks, and the SPI's first half,
which is the tunnel."""


class Relay:
    """Relays between ends that are registered."""

    def __init__(
        self, permits: Permits, tunnels: Tunnels, outbox: Outbox, relayed: Relayed
    ) -> None:
        self.offers_in = 0
        self.offers_out = 0
        self.offer_octets = 0
        self._permits = permits
        self._tunnels = tunnels
        self._outbox = outbox
        self._relayed = relayed

    def reset_counts(self) -> None:
        """Count offers and traffic from zero."""
        self.offers_in = self.offers_out = self.offer_octets = 0
        self._relayed.reset()

    def offer_untrusted(self, datagram: Buffer, source: Address, now: float) -> None:
        """Pass an offer of a key exchange on to the other end. Its sender must be known, too.

        Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``FLOCK_UNKNOWN``, ``FLOCKS_APART``,
        ``TUNNEL_UNKNOWN``; and what sending raises.
        """
        self.offers_in += 1
        if len(datagram) < offer.HEADER_BYTES:
            raise RemoteProtocolError(Drop.OFFER_TOO_SHORT)
        sender = bytes(datagram[_SENDER])
        if self._tunnels.find(sender) is None:
            raise self._refusal(sender)
        self._forward(datagram, self._receiver(peer_key(sender), source), now)
        self.offers_out += 1
        self.offer_octets += len(datagram)

    def traffic_untrusted(self, datagram: Buffer, source: Address, now: float) -> None:
        """Pass one packet of traffic on to the end whose SPI it has; 50 bytes at least. An SPI that
        is new may become provisional.

        Raises ``RemoteProtocolError``: ``FLOCK_UNKNOWN``, ``FLOCKS_APART``, ``TUNNEL_UNKNOWN``,
        ``SPI_UNKNOWN``; and what sending raises. What exceeds the bandwidth is counted.
        """
        head = bytes(datagram[: traffic.CURRENT.header_bytes])
        try:
            receiver = self._receiver(receiver_key(head), source)
            self._require_spi(receiver, Spi(int.from_bytes(head[:4], "big")), source)
        except RemoteProtocolError:
            self._relayed.packets_in += 1
            raise
        if receiver.route.admit(len(datagram), 1, now):
            self._forward(datagram, receiver, now)

    def _require_spi(self, receiver: Tunnel, spi: Spi, source: Address) -> None:
        """Raise ``RemoteProtocolError`` (``SPI_UNKNOWN``) unless this end receives under it."""
        if spi in (receiver.receiving, receiver.pending, receiver.provisional):
            return
        sender = self._tunnels.find(peer_key(receiver.key))
        if sender is None or sender.route.destination != source:
            raise RemoteProtocolError(Drop.SPI_UNKNOWN)
        self._tunnels.receive_under(receiver, receiver.receiving, receiver.pending, spi)

    def _receiver(self, key: bytes, source: Address) -> Tunnel:
        receiver = self._tunnels.find(key)
        if receiver is None or receiver.route.returns_to(source):
            raise self._refusal(key)
        return receiver

    def _refusal(self, key: bytes) -> RemoteProtocolError:
        """Why there is no way to, or from, the end with this key."""
        try:
            self._permits.require_together(flocks_of(key))
        except RemoteProtocolError as refusal:
            return refusal
        return RemoteProtocolError(Drop.TUNNEL_UNKNOWN)

    def _forward(self, datagram: Buffer, to: Tunnel, now: float) -> None:
        address = to.route.destination
        self._outbox.forward(bytes(datagram), address, to.flocks, to.identity, now)
