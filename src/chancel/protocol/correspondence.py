"""Offers in and out: all that lies between datagrams and the peer's authentic, timely offers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.admission import Admission
from chancel.protocol.agreement import Answer, Deriver, OwnKey
from chancel.protocol.base_keys import BaseKeys, SecretSource
from chancel.protocol.behaviour import Behaviour
from chancel.protocol.clocks import PeerClock
from chancel.protocol.events import Event
from chancel.protocol.offers import (
    ExchangeOffer,
    open_exchange_offer_untrusted,
    seal_exchange_offer,
)
from chancel.protocol.profile import Profile
from chancel.wire.drop import Drop
from chancel.wire.offer import OfferData
from chancel.wire.types import Buffer, Flocks, InstanceId

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
        self.clock = PeerClock(profile.offer_validity_s, profile.heartbeat_timeout_s)
        self._suite = suite
        self._profile = profile
        self._keys = BaseKeys(suite, secret, flocks, events, now, profile.keys)
        self._flocks = flocks
        self._events = events
        self._behaviour = behaviour
        self._admission = Admission(now, profile.offer_validity_s, profile.layouts.offer)
        self.local_id = self._draw_id()

    def renew_id(self) -> None:
        """Become another instance in the eyes of the peer."""
        self.local_id = self._draw_id()

    def secret_replaced(self) -> None:
        """The source has another secret: nothing that came of the old one is used any more."""
        self._keys.forget()

    def has_secret(self) -> bool:
        """Whether the secret can be loaded."""
        try:
            self._keys.secret()
        except RemoteProtocolError:
            return False
        return True

    def open_untrusted(
        self, datagram: Buffer, known_source: bool, now: float, wall: float
    ) -> ExchangeOffer:
        """Open one offer of the peer.

        Raises ``RemoteProtocolError``: ``OFFER_LIMIT``, ``OFFER_ALREADY_DONE`` (a repeat of the
        very same packet), ``NO_SECRET``, ``OFFER_OWN_ID``, ``OFFER_TIME``, and what
        :func:`open_exchange_offer_untrusted` raises.
        """
        self._admission.admit_untrusted(datagram, known_source, now)
        layout = self._profile.layouts.offer
        try:
            with self._keys.for_offers(now).reveal() as base:
                offer = open_exchange_offer_untrusted(self._suite, base, datagram, layout)
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
        with self._keys.for_offers(now).reveal() as base:
            return [
                seal_exchange_offer(
                    self._suite,
                    base,
                    self._flocks,
                    content.header_spi,
                    OfferData(int(wall), body),
                    content.random,
                    self._profile.layouts.offer,
                )
                for body in content.bodies(self.local_id)
            ]

    @contextmanager
    def deriver(self) -> Iterator[Deriver]:
        """Lend what derives traffic keys. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        with self._keys.secret().reveal() as secret:
            yield Deriver(self._suite, secret, self._flocks, self.local_id, self._profile.keys)

    def _draw_id(self) -> InstanceId:
        return InstanceId(int.from_bytes(self._suite.random(_ID_BYTES), "big"))
