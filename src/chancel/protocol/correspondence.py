"""Offers in and out: all that lies between datagrams and the peer's authentic, timely offers.

The secret is asked for when it is needed and let go at once, so replacing its file takes effect
with the next offer; but not more often than once a second, since offers come in bursts and a
stranger can send as many as he likes. In between the offers' base key is kept, masked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError, VaultError
from chancel.protocol.admission import Admission
from chancel.protocol.agreement import Answer, Deriver, OwnKey
from chancel.protocol.behaviour import Behaviour
from chancel.protocol.clocks import PeerClock
from chancel.protocol.events import Event, SecretUnavailable
from chancel.protocol.offers import (
    ExchangeOffer,
    open_exchange_offer_untrusted,
    seal_exchange_offer,
)
from chancel.protocol.profile import Profile
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.offer import OfferData
from chancel.wire.types import Buffer, Flocks, InstanceId

SecretSource = Callable[[], Secret]
"""Loads the shared secret (32 bytes); raises ``VaultError``."""

BASE_KEY_S = 0.9
"""For how long the offers' base key is kept: less than the interval of our own offers."""

_ID_BYTES = 8


class Correspondence:
    """One tunnel's offers. ``events`` is the exchange's own list, to which ours are added."""

    def __init__(
        self,
        suite: Suite,
        secret: SecretSource,
        flocks: Flocks,
        events: deque[Event],
        now: float,
        *,
        profile: Profile,
        behaviour: Behaviour,
    ) -> None:
        self.clock = PeerClock(profile)
        self._suite = suite
        self._source = secret
        self._flocks = flocks
        self._events = events
        self._behaviour = behaviour
        self._admission = Admission(now, profile.offer_validity_s)
        self._base: Secret | None = None
        self._base_until = now
        self._problem: str | None = None
        self.local_id = self._draw_id()

    def renew_id(self) -> None:
        """Become another instance in the eyes of the peer."""
        self.local_id = self._draw_id()

    def open_untrusted(
        self, datagram: Buffer, known_source: bool, now: float, wall: float
    ) -> ExchangeOffer:
        """Open one offer of the peer.

        Raises ``RemoteProtocolError``: ``OFFER_LIMIT``, ``OFFER_ALREADY_DONE`` (a repeat of the
        very same packet), ``NO_SECRET``, ``OFFER_OWN_ID``, ``OFFER_TIME``, and what
        :func:`open_exchange_offer_untrusted` raises.
        """
        self._admission.admit_untrusted(datagram, known_source, now)
        try:
            with self._base_key(now).reveal() as base:
                offer = open_exchange_offer_untrusted(self._suite, base, datagram)
        except RemoteProtocolError as error:
            if error.reason is Drop.OFFER_BAD_TAG:
                self._admission.forged()
            raise
        if offer.body.id == self.local_id:
            raise RemoteProtocolError(Drop.OFFER_OWN_ID)
        in_time, skew = self.clock.compare(offer.timestamp, now, wall)
        if skew is not None:
            self._events.append(skew)
        if not in_time:
            raise RemoteProtocolError(Drop.OFFER_TIME)
        if self._behaviour.refuse_repeated_offers:
            self._admission.taken(datagram, offer.timestamp, wall)
        return offer

    def seal(self, content: OwnKey | Answer, now: float, wall: float) -> list[bytes]:
        """Return the four offers that carry our key or our answer.

        Raises ``RemoteProtocolError`` (``NO_SECRET``).
        """
        with self._base_key(now).reveal() as base:
            return [
                seal_exchange_offer(
                    self._suite,
                    base,
                    self._flocks,
                    content.header_spi,
                    OfferData(int(wall), body),
                    content.random,
                )
                for body in content.bodies(self.local_id)
            ]

    @contextmanager
    def deriver(self) -> Iterator[Deriver]:
        """Lend what derives traffic keys. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        with self._secret().reveal() as secret:
            yield Deriver(self._suite, secret, self._flocks, self.local_id)

    def _base_key(self, now: float) -> Secret:
        if self._base is None or now >= self._base_until:
            self._base = None
            with self._secret().reveal() as secret:
                key = base_key(self._suite, Purpose.PEER_OFFER, secret, self._flocks)
            self._base = Secret(key)
            self._base_until = now + BASE_KEY_S
        return self._base

    def _secret(self) -> Secret:
        """Ask for the secret. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        try:
            secret = self._source()
        except VaultError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._events.append(SecretUnavailable(self._problem))
            raise RemoteProtocolError(Drop.NO_SECRET) from error
        self._problem = None
        return secret

    def _draw_id(self) -> InstanceId:
        return InstanceId(int.from_bytes(self._suite.random(_ID_BYTES), "big"))
