"""What every client of cathedrals does, whatever it asks them (cathedral sections 2 and 6).

One cathedral at a time is the *current* one. Its answers are sealed under the cathedral secret
alone and not signed; here they are opened and judged. When it is silent for too long the next one
takes its place, and where that is wanted it tells of others, the *remembrance*. What to ask it and
when, and what its answers mean, is for whoever has a client: a registration, a liturgy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.admission import Admission
from chancel.protocol.behaviour import Behaviour
from chancel.protocol.cathedral_offers import open_answer_untrusted, seal_request
from chancel.protocol.choice import Choice
from chancel.protocol.clocks import JumpDetector, PeerClock
from chancel.protocol.profile import CURRENT
from chancel.protocol.registration_events import (
    CathedralAnswers,
    CathedralClockSkew,
    CathedralInVain,
    CathedralSilent,
    RegistrationEvent,
)
from chancel.protocol.registration_keys import ClientKeys
from chancel.protocol.registration_silence import Silence
from chancel.protocol.registration_types import Registrant, StoreRemembrance
from chancel.wire.cathedral import CATHEDRAL, Answer, Request
from chancel.wire.drop import Drop
from chancel.wire.offer import OfferLayout
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, Buffer

NAMES_PATIENCE_S: Final = 3.0
"""How long the names of the configuration have to be resolved before a cathedral is taken that is
only remembered."""

STORE_AGAIN_S: Final = 600.0
"""After this long the same remembrance is handed over again, in case it could not be written."""

STORE_SPACING_S: Final = 10.0
"""Others are handed over no faster, whatever a cathedral says: each is a write to a disk. It says
something each 15 s."""

IN_VAIN_S: Final = 140.0
"""A cathedral that says for so long that the peer is there, and through which nothing comes, makes
room for the next one. An honest one says so for 130 s at most after the peer has died.

The end with the larger device waits longer, while the other goes round: two that went on at the
same time could pass each other by for ever."""

MOST_ROUNDS: Final = 4
"""So many times as long at most, of as many cathedrals as are known."""

PROMISED_S: Final = 30.0
"""For so long its word that the peer is there is taken to hold."""


class Client:
    """The conversation with one cathedral after another.

    ``events`` is the list of whoever has it, who is told of another current cathedral when he asks
    (:meth:`chosen`): called back, he and the client would refer to each other, and the keys of both
    stay until a cycle collector comes by.
    """

    def __init__(
        self,
        suite: Suite,
        registrant: Registrant,
        events: deque[RegistrationEvent],
        now: float,
        wall: float,
        behaviour: Behaviour,
    ) -> None:
        self.keys = ClientKeys(suite, registrant, events, now)
        self.choice = Choice()
        self.silence = Silence(now, signs=registrant.remember)
        self.datagrams: list[tuple[bytes, Address]] = []
        """What is to be sent, and where to."""
        self._suite = suite
        self._registrant = registrant
        self._behaviour = behaviour
        self._events = events
        self._chosen: Address | None = None
        self._admission = Admission(now, CURRENT.offer_validity_s, CATHEDRAL)
        self._jumps = JumpDetector(now, wall)
        self._clock = _new_clock()
        self._newest = 0
        self._choose_at = math.inf
        self._stored: tuple[Address, ...] = ()
        self._store_again_at = now
        self._store_next_at = -math.inf
        self._peer_heard_at = math.inf
        self._promised_since = self._promised_at = -math.inf

    def __repr__(self) -> str:
        return f"{self.choice.current or 'no cathedral'}, {self.silence!r}"

    @property
    def clock_skew_s(self) -> float | None:
        """The cathedral's wall clock minus ours; positive means that ours is behind."""
        return self._clock.skew_s

    @property
    def wants_remembrance(self) -> bool:
        """Also without a file, where there is a choice: to hear of a cathedral that it lives."""
        return self._registrant.remember or self.choice.next() is not None

    @property
    def hurries(self) -> bool:
        """Whether the next question had better not wait: silence may mean another cathedral."""
        return self.silence.overdue and self.choice.next() is not None

    def chosen(self) -> Address | None:
        """Drain, after :meth:`resolved` and :meth:`wake`: the current cathedral, if it has become
        that."""
        chosen, self._chosen = self._chosen, None
        return chosen

    def resolved(self, cathedrals: Sequence[Address], now: float) -> None:
        """All addresses that the names of the configuration have by now, in its order.

        Names that can't be resolved now say nothing: with no address at all nothing changes. A
        current one that answers stays, even if it is no longer among them. One that doesn't makes
        room for the first that was not known before.
        """
        if not cathedrals:
            return
        added = self.choice.configure(cathedrals)
        if self.choice.current is None:
            self._choose(self.choice.configured[0], now)
        elif added and not self.silence.answering(now):
            self._choose(added[0], now)
        self.silence.signs = self.wants_remembrance

    def remembered(self, cathedrals: Sequence[Address], now: float) -> None:
        """What the file of remembrance has: at start, before anything is received.

        The configuration's come first. Raises ``LocalProtocolError`` unless we ``remember``.
        """
        if not self._registrant.remember:
            raise LocalProtocolError("this end remembers no cathedrals: don't read the file")
        self.choice.recall(cathedrals)
        self._stored = tuple(cathedrals)
        self._store_again_at = now + STORE_AGAIN_S
        if self.choice.current is None and cathedrals:
            self._choose_at = now + NAMES_PATIENCE_S

    def open_untrusted(self, datagram: Buffer, source: Address, now: float, wall: float) -> Answer:
        """Open what the current cathedral says.

        Raises ``RemoteProtocolError``: ``CATHEDRAL_SOURCE``, ``OFFER_ALREADY_DONE`` (the very same
        packet), ``NO_SECRET``, ``OFFER_TIME``, ``OFFER_REPLAYED`` (it was held back: something
        newer has come), and what :func:`open_answer_untrusted` raises.
        """
        if source != self.choice.current:
            raise RemoteProtocolError(Drop.CATHEDRAL_SOURCE)
        self._admission.admit_untrusted(datagram, known_source=True, now=now)
        with self.keys.for_offers(now).reveal() as base:
            identity = self._registrant.identity
            answer = open_answer_untrusted(self._suite, base, identity, datagram)
        in_time, skew = self._clock.compare(answer.timestamp, now, wall)
        if skew is not None:
            self._events.append(CathedralClockSkew(skew.seconds, skew.refused))
        if not in_time:
            raise RemoteProtocolError(Drop.OFFER_TIME)
        if self._behaviour.refuse_repeated_offers:
            # A newest one that is out of time by now was from before a clock was set right.
            if answer.timestamp < self._newest <= int(wall) + CURRENT.offer_validity_s:
                raise RemoteProtocolError(Drop.OFFER_REPLAYED)
            self._newest = answer.timestamp
            self._admission.taken(datagram, answer.timestamp, wall)
        return answer.body

    def heard(self, now: float, *, answer: bool, sign: bool) -> bool:
        """It said something: the answer to what was asked, a sign of life, or anything else.

        Returns whether only this shows that there is a cathedral: until now it was hearsay.
        """
        if self.silence.heard(now, answer=answer, sign=sign) and self.choice.current is not None:
            self._events.append(CathedralAnswers(self.choice.current))
        return self.choice.heard()

    def promised(self, now: float) -> None:
        """It said that the peer is there."""
        if now >= self._promised_at + PROMISED_S:
            self._promised_since = now
        self._promised_at = now

    def peer_heard(self, at: float) -> None:
        """Traffic of the peer last came then, by whatever way, or never: from the first call on, a
        cathedral that promises a peer and brings none is left. Offers don't count: a cathedral
        could let some of them through, and no exchange come to its end."""
        self._peer_heard_at = at

    def remember_untrusted(
        self, cathedrals: Sequence[Address], now: float
    ) -> StoreRemembrance | None:
        """Take a remembrance; returns what to write, if it is worth that.

        Raises ``RemoteProtocolError`` (``REMEMBRANCE_UNWANTED``).
        """
        if not self._registrant.remember:
            if self.wants_remembrance:
                return None
            raise RemoteProtocolError(Drop.REMEMBRANCE_UNWANTED)
        usable = self.choice.told_untrusted(cathedrals)
        if not usable or (usable == self._stored and now < self._store_again_at):
            return None
        if now < self._store_next_at:
            return None  # it comes again
        self._store_next_at = now + STORE_SPACING_S
        self._stored = usable
        self._store_again_at = now + STORE_AGAIN_S
        return StoreRemembrance(usable, RemembranceBody(usable).encode_table())

    def choice_at(self) -> float:
        """When :meth:`wake` is next due: infinity for never."""
        if self.choice.current is None:
            return self._choose_at
        return min(self.silence.over_at(), self._in_vain_at())

    def wake(self, now: float, wall: float) -> bool:
        """Choose another cathedral, if it is time to; whether the wall clock has jumped."""
        jump_s = self._jumps.advance(now, wall)
        current = self.choice.current
        if current is None:
            if now >= self._choose_at and (first := self.choice.next()) is not None:
                self._choose(first, now)
        elif now >= self.silence.over_at():
            self._give_up(current, now)
        elif now >= self._in_vain_at():
            self._leave(current, now)
        return self._behaviour.watch_clock and jump_s >= CURRENT.clock_jump_s

    def ask(
        self, ways: Sequence[tuple[OfferLayout, Address]], body: Request, now: float, wall: float
    ) -> None:
        """Seal, sign and send the same each way. Raises ``RemoteProtocolError`` (``NO_SECRET``)."""
        base, cosk, us = self.keys.for_offers(now), self.keys.cosk(), self._registrant
        with base.reveal() as key, cosk.reveal() as signing:
            for layout, to in ways:
                offer = seal_request(
                    *(self._suite, key, us.flocks, us.identity, int(wall), body, signing, layout)
                )
                self.datagrams.append((offer, to))
                if self._behaviour.refuse_repeated_offers:
                    # Whoever reflects it (an echo service, our own router) is no cathedral: what
                    # cathedrals say is under the same key.
                    self._admission.taken(offer, int(wall), wall)

    def _choose(self, cathedral: Address, now: float) -> None:
        self.silence.begin(now, restarted=self.choice.current is None)
        self.choice.choose(cathedral)
        self.silence.signs = self.wants_remembrance
        self._clock = _new_clock()
        self._newest = 0
        self._promised_at = -math.inf
        self._chosen = cathedral

    def _give_up(self, cathedral: Address, now: float) -> None:
        after = self.choice.next()
        self._events.append(CathedralSilent(cathedral, self.silence.silent_s(now), after))
        if after is None:
            self.silence.told()
        else:
            self._choose(after, now)

    def _in_vain_at(self) -> float:
        """When it has promised the peer for too long: infinity while it doesn't, and for those who
        never told us whether they hear the peer."""
        own, peer = divmod(self._registrant.tunnel, 256)
        rounds = 1 if own <= peer else min(self.choice.count, MOST_ROUNDS)
        at = max(self._promised_since, self._peer_heard_at) + rounds * IN_VAIN_S
        return at if at < self._promised_at + PROMISED_S else math.inf

    def _leave(self, cathedral: Address, now: float) -> None:
        """What it promises is in vain: try another one, if there is any."""
        after = self.choice.elsewhere()
        self._promised_at = -math.inf
        if after is not None:
            self._events.append(CathedralInVain(cathedral, after))
            self._choose(after, now)


def _new_clock() -> PeerClock:
    return PeerClock(CURRENT.offer_validity_s, CURRENT.heartbeat_timeout_s)
