"""The key exchange with one peer (protocol sections 6 and 7): timers, offers and keys.

How one exchange goes on is in ``handshake`` and ``states``, what it computes in ``agreement``, when
the next one must start in ``schedule`` and ``liveness``, and what is kept of the last one in
``answers``. Here they meet.

**Getting out of lost ciphertexts.** The two directions of an exchange finish independently, and
the reference has states in which one side waits in silence for a ciphertext that the other no
longer sends. We leave each of them within seconds, and nothing depends on the peer being one of us:

* *We lack a sending key, the peer uses our receive key.* We go on repeating our key and count the
  exchange down; when it expires another one follows at once. A peer of our kind answers each
  repeat again; the reference, which no longer does, takes part in the next exchange.
* *The peer lacks a sending key and repeats its key.* We keep our last answer (nothing in it is
  secret) and send it again for each repeat, once a second at most, until the key is used.
* *The peer lacks a sending key and says nothing* (the reference in the trap of section 7.1). While
  our last answer is unused we send it every few seconds of our own accord.
* *Both lack one.* Each of the above on either side; whoever expires first begins anew. The other
  answers: from a new exchange of its own, or, where its own is so young that the peer can hardly
  have seen it, from the same one, so that two ends never restart each other in turn. As such
  answers may cross, a ciphertext is paired with the SPI in its header, for which it was made.

While anything authentic still comes from the peer there is no pause after failures; and once a
silent peer is given up, with all keys, we come back as another instance, which no peer ignores. So
we do after some exchanges without any answer when it is a receive key that we lack: the reference
in the trap hears us under our sending key, and would wait for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.agreement import Answer, OwnKey, draw_spi, make_own_key
from chancel.protocol.answers import Answers
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.clocks import JumpDetector
from chancel.protocol.correspondence import Correspondence
from chancel.protocol.events import (
    ClockJumped,
    ExchangeEnded,
    ExchangePaused,
    ExchangeStarted,
    OfferReceived,
    OffersSent,
    Outcome,
    PeerRestarted,
    PeerUnresponsive,
    Reason,
    ReceiveKeyInstalled,
    ReceiveKeyUsed,
    SecretNotShared,
    SendKeyInstalled,
)
from chancel.protocol.handshake import Handshake
from chancel.protocol.keeper import Outbox
from chancel.protocol.liveness import Liveness
from chancel.protocol.messages import (
    EraseKeys,
    InstallReceiveKey,
    InstallSendKey,
    PeerSeen,
    ReceiveReport,
)
from chancel.protocol.offers import ExchangeOffer
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.schedule import Schedule
from chancel.protocol.states import State, Step
from chancel.protocol.switch import AMBRY_LIMIT_S, Switch
from chancel.wire.drop import Drop
from chancel.wire.offer import OfferState
from chancel.wire.types import NO_FLOCKS, Address, Buffer, Flocks, InstanceId, Salt, Spi

MOST_IGNORED: Final = 4
"""Exchanges without an offer of the peer's, as many as the reference makes before it pauses."""


class Exchange(Outbox):
    """Agrees on traffic keys with one peer.

    Feed it offers (:meth:`receive`), what the receiving side saw (:meth:`report`) and whether an
    address of the peer is known (:meth:`path_known`); call :meth:`wake` when :meth:`wake_at` has
    come, which may be at once after any of these. Take :meth:`commands` for Sealer and Opener,
    :meth:`datagrams` for the peer's address, :meth:`peer_seen` for the path. ``drops`` counts the
    offers that were refused.

    Without a configured peer (``peer auto``) it waits for the peer, and after 120 s of silence does
    so again. With ``awaits_ambry`` it also waits for the secret (``switch``): tell it what becomes
    of that (:meth:`secret_replaced`, :meth:`cathedral_answers`).
    """

    def __init__(
        self,
        suite: Suite,
        secret: SecretSource,
        now: float,
        wall: float,
        *,
        peer_configured: bool,
        awaits_ambry: bool = False,
        flocks: Flocks = NO_FLOCKS,
        spi_prefix: int = 0,
        profile: Profile = CURRENT,
        behaviour: Behaviour = CHANCEL,
    ) -> None:
        super().__init__()
        self._suite = suite
        self._spi_prefix = spi_prefix
        self._drawn: Spi | None = None
        self._profile = profile
        self.behaviour = behaviour
        self._offers = Correspondence(
            suite, secret, flocks, self._events, now, profile=profile, behaviour=behaviour
        )
        self._live = Liveness(profile, behaviour)
        self._schedule = Schedule(self._live, profile, behaviour)
        self._answers = Answers(self._live, profile, behaviour)
        self._switch = Switch(awaits_ambry, self._offers.has_secret, now)
        self._jumps = JumpDetector(now, wall)
        self._handshake: Handshake | None = None
        self._now = now
        self._peer_configured = peer_configured
        self._path_known = peer_configured
        self._ignored = 0
        self._has_keys = False
        self._peer_id: InstanceId | None = None
        self._source: Address | None = None
        self._newest = 0

    def __repr__(self) -> str:
        return f"<Exchange {self._handshake or 'idle'}>"

    @property
    def state(self) -> State:
        """What the running exchange waits for; ``IDLE`` if there is none."""
        return State.IDLE if self._handshake is None else self._handshake.state

    @property
    def clock_skew_s(self) -> float | None:
        """The peer's wall clock minus ours; positive means that ours is behind."""
        return self._offers.clock.skew_s

    @property
    def next_spi(self) -> Spi:
        """The SPI that the peer may send under next: that of the running exchange, or else of the
        one to come, so that a relay can be told of it early."""
        if self._handshake is not None:
            return self._handshake.own.spi
        if self._drawn is None or self._live.is_taken(self._drawn):
            self._drawn = draw_spi(self._suite, self._spi_prefix, self._live.taken_spis)
        return self._drawn

    @property
    def instance(self) -> InstanceId:
        """Who we are to the peer, until it is renewed."""
        return self._offers.local_id

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram of kind ``OFFER``; what is wrong with it is counted."""
        self._check_clock(now, wall)
        try:
            if not self._switch.opened(now):
                raise RemoteProtocolError(Drop.NO_SECRET)
            offer = self._offers.open_untrusted(datagram, source == self._source, now, wall)
            if self.traced:
                body = offer.body
                self._events.append(OfferReceived(body.state, body.spi, body.fragment))
            self._note_peer(offer.body.id, now)
            with self._path_follows(offer.timestamp, source, now):
                if offer.body.state is OfferState.PK:
                    self._on_key(offer, now, wall)
                else:
                    self._on_ciphertext(offer, now, wall)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
        if not self.behaviour.step_when_woken:
            self._do_due(now, wall)

    def report(self, report: ReceiveReport, now: float) -> None:
        """Take what the Opener saw. May come late, and as often as anybody likes."""
        self._now = now
        if self._live.observe(report):
            self._events.append(ReceiveKeyUsed(Spi(report.active_spi)))
        handshake = self._handshake
        if (
            handshake is not None
            and handshake.state in (State.ANSWERED, State.KEYED)
            and self._live.used(handshake.own.spi)
        ):
            self._step(handshake, Step.USE)

    def path_known(self, known: bool, now: float) -> None:
        """Whether there is an address to send to. An authentic offer says so by itself."""
        self._now = now
        self._path_known = known

    def secret_replaced(self, now: float) -> None:
        """The source of the secret gives another one from now on, that of an ambry.

        The keys in use stay until an exchange has brought new ones, for 75 s at most.
        """
        self._now = now
        self._switch.replaced(self._has_keys, now)
        self._offers.secret_replaced()
        self._answers.drop()
        if self._handshake is not None:
            self._step(self._handshake, Step.END, Outcome.ABANDONED)
        self._schedule.secret_replaced()
        if self._path_known:
            self._start(Reason.AMBRY, now)

    def cathedral_answers(self, answers: bool, now: float) -> None:
        """Whether there is a cathedral that would give us an ambry: then the first is awaited."""
        if answers:
            self._switch.cathedral_answers()
        else:
            self._switch.cathedral_silent(now)

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once."""
        at = min(self._live.dead_at(), self._switch.erase_at)
        handshake = self._handshake
        if handshake is not None:
            at = min(at, handshake.transmit_at())
        elif self._path_known:
            at = min(at, max(self._schedule.start_at(), self._switch.opens_at))
        if self._sends_no_answer():
            at = min(at, self._answers.repeat_at())
        return None if at == math.inf else max(at, self._now)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        self._check_clock(now, wall)
        self._do_due(now, wall)

    @contextmanager
    def _path_follows(self, timestamp: int, source: Address, now: float) -> Iterator[None]:
        """Take an authentic offer's source for the peer's, unless the offer may be a recorded one.

        Somebody may have caught it on its way, so that it never came, and sent it now from where
        he likes. It must be newer than all before it, or as new and bring what was missing.
        """
        follows = timestamp > self._newest or not self.behaviour.refuse_repeated_offers
        as_new = timestamp == self._newest
        self._newest = max(self._newest, timestamp)
        try:
            yield
            follows |= as_new
        finally:
            if follows:
                self._source = source
                self._peer_seen = PeerSeen(source, now)
                self._path_known = True

    def _note_peer(self, id_: InstanceId, now: float) -> None:
        self._live.heard_offer(now)
        self._ignored = 0
        if self._peer_id not in (None, id_):
            self._events.append(PeerRestarted(id_))
        self._peer_id = id_

    def _on_key(self, offer: ExchangeOffer, now: float, wall: float) -> None:
        spi = offer.body.spi
        if self._answers.salt(spi) is not None:
            if self._sends_no_answer():
                self._send(self._answers.repeat_for(spi, now), now, wall)
            raise RemoteProtocolError(Drop.OFFER_ALREADY_DONE)
        handshake = self._handshake
        if handshake is None:
            handshake = self._start(Reason.PEER_RENEGOTIATES, now)
        elif handshake.state is not State.OFFERED and handshake.reconsider(offer, now):
            restarted = handshake.is_of_other_instance(offer)
            self._step(handshake, Step.END, Outcome.REPLACED)
            handshake = self._start(
                Reason.PEER_RESTARTED if restarted else Reason.PEER_BEGAN_ANEW, now
            )
        peer = handshake.collect_key(offer)
        self._answers.drop()
        if peer is None:
            return
        own = handshake.own
        try:
            with self._offers.deriver() as deriver:
                answer, key = deriver.answer(own, peer)
        except RemoteProtocolError:
            handshake.discard_key()
            raise
        self._answers.add(answer)
        handshake.answered(peer)
        self._has_keys = True
        self._commands.append(InstallReceiveKey(own.spi, own.salt, key))
        self._events.append(ReceiveKeyInstalled(own.spi))
        if self.behaviour.answer_at_once and now < handshake.transmit_at():
            self._send(self._answers.to_send, now, wall)

    def _on_ciphertext(self, offer: ExchangeOffer, now: float, wall: float) -> None:
        handshake = self._handshake
        if handshake is None:
            raise RemoteProtocolError(Drop.OFFER_UNEXPECTED)
        if offer.body.spi != handshake.own.spi:
            if handshake.state is State.OFFERED and not self.behaviour.resync_unanswered:
                raise RemoteProtocolError(Drop.OFFER_UNEXPECTED)
            if self.behaviour.resync_on_wrong_spi and handshake.settled(now):
                self._step(handshake, Step.END, Outcome.ABANDONED)
                self._schedule.resync(now)
            raise RemoteProtocolError(Drop.OFFER_WRONG_SPI)
        if self._answers.key_arrived() and self.behaviour.answer_at_once:
            self._send(self._answers.to_send, now, wall)
        target = self._pair(handshake, offer.spi)
        if target is None or handshake.state is State.KEYED:
            raise RemoteProtocolError(Drop.OFFER_UNEXPECTED)
        ciphertext = handshake.collect_ciphertext(offer)
        if ciphertext is None:
            return
        try:
            with self._offers.deriver() as deriver:
                key = deriver.accept(handshake.own, ciphertext)
        except RemoteProtocolError:
            handshake.discard_ciphertext()
            raise
        spi, salt = target
        self._has_keys = True
        self._commands.append(InstallSendKey(spi, salt, key))
        self._events.append(SendKeyInstalled(spi))
        self._schedule.succeeded()
        self._switch.completed()
        self._step(handshake, Step.KEY)

    def _pair(self, handshake: Handshake, header_spi: Spi) -> tuple[Spi, Salt] | None:
        """SPI and salt of the peer's that a ciphertext was made for, if we know them yet.

        Its header names the exchange of the peer's that answers. That may be one whose key we lack
        a part of, while we have answered the key of an earlier one.
        """
        if self.behaviour.pair_ciphertext_by_header:
            salt = self._answers.salt(header_spi)
            return None if salt is None else (header_spi, salt)
        latest = self._answers.latest
        if handshake.state is State.OFFERED or latest is None:
            return None
        return latest.peer_spi, latest.peer_salt

    def _sends_no_answer(self) -> bool:
        return self._handshake is None or self._handshake.state is State.OFFERED

    def _check_clock(self, now: float, wall: float) -> None:
        self._now = now
        jump_s = self._jumps.advance(now, wall)
        if jump_s < self._profile.clock_jump_s or not self.behaviour.watch_clock:
            return
        self._events.append(ClockJumped(jump_s))
        self._live.hold(now + self._profile.clock_jump_hold_s)
        if self._handshake is not None:
            self._step(self._handshake, Step.END, Outcome.ABANDONED)
        self._offers.renew_id()
        if self._path_known and self._switch.opened(now):
            self._start(Reason.CLOCK_JUMP, now)

    def _give_up_peer(self, now: float) -> None:
        self._events.append(PeerUnresponsive(self._live.silent_s(now)))
        self._erase(now)
        self._newest = 0
        self._path_known = self._peer_configured

    def _erase(self, now: float) -> None:
        self._commands.append(EraseKeys())
        self._has_keys = False
        if self._handshake is not None:
            self._step(self._handshake, Step.END, Outcome.ABANDONED)
        self._live.erased(now)
        self._answers.drop()
        self._schedule.erased()
        self._switch.completed()
        if self.behaviour.renew_id_when_giving_up:
            self._offers.renew_id()

    def _do_due(self, now: float, wall: float) -> None:
        if now >= self._live.dead_at():
            self._give_up_peer(now)
        if now >= self._switch.erase_at:
            self._events.append(SecretNotShared(AMBRY_LIMIT_S))
            self._erase(now)
        handshake, one_step = self._handshake, self.behaviour.step_when_woken
        if handshake is not None and now >= handshake.transmit_at():
            self._transmit(handshake, now, wall)
            if one_step:
                return
        if self._handshake is None and self._start_if_due(now) and not one_step:
            self._do_due(now, wall)
        if self._sends_no_answer() and now >= self._answers.repeat_at():
            self._send(self._answers.to_send, now, wall)

    def _start_if_due(self, now: float) -> bool:
        if not self._path_known or now < self._schedule.start_at() or not self._switch.opened(now):
            return False
        reason = self._schedule.take(now)
        if reason is None:
            self._events.append(ExchangePaused(self._profile.pause_s))
            return False
        if reason is Reason.NO_KEYS:
            self._live.presume_alive(now)
        self._start(reason, now)
        return True

    def _start(self, reason: Reason, now: float) -> Handshake:
        own = make_own_key(self._suite, self.next_spi)
        self._drawn = None
        self._live.issued(own.spi)
        self._handshake = Handshake(own, now, self._profile, self.behaviour)
        self._events.append(ExchangeStarted(reason, own.spi))
        return self._handshake

    def _transmit(self, handshake: Handshake, now: float, wall: float) -> None:
        if handshake.transmissions_left == 0:
            self._expire(handshake)
            return
        for kind in handshake.transmission(now):
            if kind is OfferState.PK:
                self._send(handshake.own, now, wall)
                self._answers.key_sent()
            else:
                self._send(self._answers.to_send, now, wall)
        if handshake.transmissions_left == 0 and self.behaviour.end_with_last_transmission:
            self._expire(handshake)

    def _expire(self, handshake: Handshake) -> None:
        self._schedule.expired(handshake.state in (State.ANSWERED, State.USED))
        self._step(handshake, Step.END, Outcome.EXPIRED)
        self._ignored += 1
        if (
            self._ignored == MOST_IGNORED
            and self.behaviour.renew_id_when_giving_up
            and not self._live.has_key
        ):
            self._ignored = 0
            self._offers.renew_id()

    def _send(self, content: OwnKey | Answer | None, now: float, wall: float) -> None:
        if content is None:
            return
        if isinstance(content, Answer):
            self._answers.sent(now)
        try:
            offers = self._offers.seal(content, now, wall)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
            return
        self._datagrams += offers
        if self.traced:
            kind = OfferState.CT if isinstance(content, Answer) else OfferState.PK
            self._events.append(OffersSent(kind, content.header_spi, len(offers)))

    def _step(self, handshake: Handshake, step: Step, outcome: Outcome = Outcome.FINISHED) -> None:
        handshake.step(step)
        if handshake.state is State.IDLE:
            self._handshake = None
            self._schedule.ended()
            self._events.append(ExchangeEnded(outcome, handshake.own.spi))
