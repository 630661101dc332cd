"""A shrine: the keeper of a one-way receiver (protocol section 12.4).

It sends nothing and takes the keys that its pilgrim announces. An announcement stays valid for
almost an hour around the time it was made, so it can be recorded and replayed. Therefore every SPI
that was accepted is remembered for long: a repeat is never installed a second time, which would
empty the replay window of its key. The reference remembers one.
"""

from __future__ import annotations

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.admission import Admission
from chancel.protocol.base_keys import BaseKeys, SecretSource
from chancel.protocol.clocks import PeerClock
from chancel.protocol.events import ReceiveKeyInstalled, ReceiveKeyUsed
from chancel.protocol.keeper import Outbox
from chancel.protocol.key_offers import KeyOffer, open_key_offer_untrusted
from chancel.protocol.messages import InstallReceiveKey, PeerSeen, ReceiveReport
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.states import State
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address, Buffer, Spi

MAX_SPIS = 1024
"""SPIs remembered: six weeks of hourly keys. Only a pilgrim with the secret adds to them, and none
of its announcements is valid for longer than an hour."""


class Shrine(Outbox):
    """Takes the keys of a one-way sender: a :class:`chancel.protocol.keeper.Keeper`."""

    def __init__(
        self, suite: Suite, secret: SecretSource, now: float, *, profile: Profile = CURRENT
    ) -> None:
        super().__init__()
        self._suite = suite
        self._layout = profile.layouts.offer
        self._keys = BaseKeys(suite, secret, NO_FLOCKS, self._events, now, profile.keys)
        self._clock = PeerClock(profile.key_offer_validity_s, profile.heartbeat_timeout_s)
        self._admission = Admission(now, profile.key_offer_validity_s, self._layout)
        self._spis: dict[Spi, None] = {}
        self._newest: Spi | None = None
        self._used = 0
        self._source: Address | None = None

    def __repr__(self) -> str:
        return f"<Shrine {'without key' if self._newest is None else f'{self._newest:08x}'}>"

    @property
    def state(self) -> State:
        """``IDLE``: a shrine never asks for anything."""
        return State.IDLE

    @property
    def clock_skew_s(self) -> float | None:
        """The pilgrim's wall clock minus ours; positive means that ours is behind."""
        return self._clock.skew_s

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram of kind ``OFFER``; what is wrong with it is counted."""
        try:
            offer = self._open_untrusted(datagram, source == self._source, now, wall)
            if offer.spi != self._newest:
                self._install(offer)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
        else:
            self._source = source
            self._peer_seen = PeerSeen(source, now)

    def report(self, report: ReceiveReport, now: float) -> None:
        """Take what the Opener saw; only to tell of it."""
        del now
        if report.packets and report.active_spi != self._used:
            self._used = report.active_spi
            self._events.append(ReceiveKeyUsed(Spi(report.active_spi)))

    def path_known(self, known: bool, now: float) -> None:
        """Nothing is ever sent there."""

    def wake_at(self) -> float | None:
        """Never: only what arrives matters."""
        return None

    def wake(self, now: float, wall: float) -> None:
        """Nothing is ever due."""

    def _open_untrusted(
        self, datagram: Buffer, known_source: bool, now: float, wall: float
    ) -> KeyOffer:
        """Raises ``RemoteProtocolError``: ``OFFER_LIMIT``, ``OFFER_ALREADY_DONE`` (a repeat of the
        very same packet), ``NO_SECRET``, ``OFFER_TIME``, and what
        :func:`open_key_offer_untrusted` raises.
        """
        self._admission.admit_untrusted(datagram, known_source, now)
        try:
            with self._keys.for_offers(now).reveal() as base:
                offer = open_key_offer_untrusted(self._suite, base, datagram, self._layout)
        except RemoteProtocolError as error:
            if error.reason is Drop.OFFER_BAD_TAG:
                self._admission.forged()
            raise
        in_time, skew = self._clock.compare(offer.timestamp, now, wall)
        if skew is not None:
            self._events.append(skew)
        if not in_time:
            raise RemoteProtocolError(Drop.OFFER_TIME)
        self._admission.taken(datagram, offer.timestamp, wall)
        return offer

    def _install(self, offer: KeyOffer) -> None:
        """Raises ``RemoteProtocolError`` (``OFFER_ALREADY_DONE``) for the SPI of an earlier key."""
        if offer.spi in self._spis:
            raise RemoteProtocolError(Drop.OFFER_ALREADY_DONE)
        if len(self._spis) >= MAX_SPIS:
            del self._spis[next(iter(self._spis))]
        self._spis[offer.spi] = None
        self._newest = offer.spi
        body = offer.body
        self._commands.append(InstallReceiveKey(offer.spi, body.salt, body.key))
        self._events.append(ReceiveKeyInstalled(offer.spi))
