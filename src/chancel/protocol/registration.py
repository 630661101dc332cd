"""A tunnel end's registration at its cathedrals (cathedral sections 2, 6 and 8.5).

A cathedral relays for those who are registered, and tells both ends of a tunnel where the other is.
Every few seconds, and sooner when there is news, it gets an *info*: a signed offer that says which
tunnel we are an end of and under which SPIs we receive. What it answers is unsigned, sealed under
the cathedral secret alone: where the peer is (nobody but the peer can prove it), an *ambry* (a
shared secret wrapped for this device, which no cathedral can open or make) and a *remembrance*
(other cathedrals). So a bad one can cost us availability, and nothing else.

Which cathedral is the current one is in ``choice``, when it counts as dead in
``registration_silence``, which ambries are taken in ``registration_ambry``. Here they meet. The
shroud, and the size that TFC gives all datagrams, are put on by whoever sends.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol.admission import Admission
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.cathedral_offers import Opened, open_answer_untrusted, seal_request
from chancel.protocol.choice import Choice
from chancel.protocol.clocks import JumpDetector, PeerClock
from chancel.protocol.events import MAX_EVENTS
from chancel.protocol.profile import CURRENT
from chancel.protocol.registration_ambry import Ambries
from chancel.protocol.registration_events import (
    CathedralAnswers,
    CathedralClockSkew,
    CathedralSilent,
    RegistrationEvent,
)
from chancel.protocol.registration_keys import ClientKeys
from chancel.protocol.registration_pace import Pace, Spis
from chancel.protocol.registration_silence import Silence
from chancel.protocol.registration_types import (
    CathedralChosen,
    PeerAnnounced,
    Registrant,
    RegistrationCommand,
    StoreRemembrance,
)
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.offer import OfferLayout
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, Buffer, InstanceId, Spi

NAMES_PATIENCE_S: Final = 3.0
"""How long the names of the configuration have to be resolved before a cathedral is taken that is
only remembered."""

STORE_AGAIN_S: Final = 600.0
"""After this long the same remembrance is handed over again, in case it could not be written."""


class Registration:
    """Registers one tunnel at one cathedral at a time.

    Feed it the datagrams of a cathedral's kind (:meth:`receive`) and what it must tell
    (:meth:`report_keys`, :meth:`renew_instance`, :meth:`network_changed`); call :meth:`wake` when
    :meth:`wake_at` has come, which may be at once after any of these. Take :meth:`datagrams` for
    the socket that traffic leaves from (behind a NAT nothing else works), :meth:`commands` for
    whoever joins it to the rest. ``drops`` counts what was refused.
    """

    def __init__(
        self,
        suite: Suite,
        registrant: Registrant,
        cathedrals: Sequence[Address],
        now: float,
        wall: float,
        *,
        instance: InstanceId,
        behaviour: Behaviour = CHANCEL,
    ) -> None:
        """``cathedrals`` may be empty until their names are resolved."""
        self.drops: Counter[Drop] = Counter()
        self._suite = suite
        self._registrant = registrant
        self._behaviour = behaviour
        self._events: deque[RegistrationEvent] = deque(maxlen=MAX_EVENTS)
        self._commands: list[RegistrationCommand] = []
        self._datagrams: list[tuple[bytes, Address]] = []
        self._keys = ClientKeys(suite, registrant, self._events, now)
        self._ambries = Ambries(suite, registrant, self._keys, self._events)
        self._admission = Admission(now, CURRENT.offer_validity_s, CATHEDRAL)
        self._jumps = JumpDetector(now, wall)
        self._clock = _new_clock()
        self._newest = 0
        self._choice = Choice()
        self._silence = Silence(now, signs=registrant.remember)
        self._silence.awaited = registrant.kek is not None
        self._instance = instance
        self._spis: Spis = (None, None)
        self._pace = Pace(now, detects_nat=bool(registrant.nat_port))
        self._choose_at = math.inf
        self._stored: tuple[Address, ...] = ()
        self._store_again_at = now
        self.resolved(cathedrals, now)

    def __repr__(self) -> str:
        return f"<Registration at {self.cathedral or 'no cathedral'}, {self._silence!r}>"

    @property
    def cathedral(self) -> Address | None:
        """The current cathedral; ``None`` until an address is known."""
        return self._choice.current

    @property
    def generation(self) -> int:
        """Of the ambry in use; 0 for none."""
        return self._ambries.generation

    @property
    def clock_skew_s(self) -> float | None:
        """The cathedral's wall clock minus ours; positive means that ours is behind."""
        return self._clock.skew_s

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted, unmasked datagram of a cathedral's kind; what is wrong is counted."""
        try:
            if source != self.cathedral:
                raise RemoteProtocolError(Drop.CATHEDRAL_SOURCE)
            answer = self._open_untrusted(datagram, now, wall)
            self._heard(source, answer.body, now)
            self._take_untrusted(source, answer.body, now, wall)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1

    def report_keys(self, receiving: Spi | None, pending: Spi | None, now: float) -> None:
        """The SPIs of the active receive key and of the one that waits for its first use.

        A cathedral relays no others, so it is told of a change soon, and of a new one at once.
        """
        if (receiving, pending) != self._spis:
            self._spis = receiving, pending
            self._pace.announce(now)

    def adopted(self, generation: int, now: float) -> None:
        """The secret of the last ``AdoptSecret`` is in use.

        Raises ``LocalProtocolError`` if it had another generation, or was answered before.
        """
        del now
        self._ambries.adopted(generation)
        self._silence.awaited = False

    def not_adopted(self, problem: str, now: float) -> None:
        """The secret of the last ``AdoptSecret`` could not be kept; ``problem`` is a sentence.

        It comes again with the next offer. Raises ``LocalProtocolError`` if it was answered before.
        """
        del now
        self._ambries.not_adopted(problem)

    def renew_instance(self, instance: InstanceId, now: float) -> None:
        """We are another instance from now on, as the peer is told, too."""
        self._instance = instance
        self._pace.restart(now)

    def network_changed(self, now: float) -> None:
        """Our own address may have changed, or we may have slept."""
        self._pace.announce(now)

    def resolved(self, cathedrals: Sequence[Address], now: float) -> None:
        """All addresses that the names of the configuration have by now, in its order.

        Names that can't be resolved now say nothing: with no address at all nothing changes. A
        current one that answers stays, even if it is no longer among them. One that doesn't makes
        room for the first that was not known before.
        """
        if not cathedrals:
            return
        added = self._choice.configure(cathedrals)
        if self.cathedral is None:
            self._choose(self._choice.configured[0], now)
        elif added and not self._silence.answering(now):
            self._choose(added[0], now)
        self._silence.signs = self._wants_remembrance

    def remembered(self, cathedrals: Sequence[Address], now: float) -> None:
        """What the file of remembrance has: at start, before anything is received.

        The configuration's come first. Raises ``LocalProtocolError`` unless we ``remember``.
        """
        if not self._registrant.remember:
            raise LocalProtocolError("this end remembers no cathedrals: don't read the file")
        self._choice.recall(cathedrals)
        self._stored = tuple(cathedrals)
        self._store_again_at = now + STORE_AGAIN_S
        if self.cathedral is None and cathedrals:
            self._choose_at = now + NAMES_PATIENCE_S

    def wake_at(self) -> float | None:
        """When :meth:`wake` is next due: the past means at once, ``None`` never."""
        if self.cathedral is None:
            return None if self._choose_at == math.inf else self._choose_at
        return min(self._due_at(), self._silence.over_at())

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        jump_s = self._jumps.advance(now, wall)
        if self._behaviour.watch_clock and jump_s >= CURRENT.clock_jump_s:
            self._pace.announce(now)
        if self.cathedral is None:
            if now >= self._choose_at and (first := self._choice.next()) is not None:
                self._choose(first, now)
        elif now >= self._silence.over_at():
            self._give_up(self.cathedral, now)
        if self.cathedral is not None:
            self._inform(self.cathedral, now, wall)

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain the bare offers to send, and where each goes."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def commands(self) -> list[RegistrationCommand]:
        """Drain the commands, in order."""
        commands, self._commands = self._commands, []
        return commands

    def next_event(self) -> RegistrationEvent | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    @property
    def _wants_remembrance(self) -> bool:
        """Also without a file, where there is a choice: to hear of a cathedral that it lives."""
        return self._registrant.remember or self._choice.next() is not None

    def _open_untrusted(self, datagram: Buffer, now: float, wall: float) -> Opened[Answer]:
        """Open what the current cathedral says.

        Raises ``RemoteProtocolError``: ``OFFER_ALREADY_DONE`` (the very same packet),
        ``NO_SECRET``, ``OFFER_TIME``, ``OFFER_REPLAYED`` (it was held back: something newer has
        come), and what :func:`open_answer_untrusted` raises.
        """
        self._admission.admit_untrusted(datagram, known_source=True, now=now)
        with self._keys.for_offers(now).reveal() as base:
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
        return answer

    def _heard(self, source: Address, body: Answer, now: float) -> None:
        answer, sign = isinstance(body, AnswerBody), isinstance(body, RemembranceBody)
        self._pace.heard(now)
        if self._silence.heard(now, answer=answer, sign=sign):
            self._events.append(CathedralAnswers(source))

    def _take_untrusted(self, source: Address, body: Answer, now: float, wall: float) -> None:
        match body:
            case AnswerBody(peer=peer, same_external_ipv4=same):
                if peer is not None:
                    self._pace.answered(now, directly=peer.host != source.host)
                    self._commands.append(PeerAnnounced(peer, now, same))
            case AmbryBody():
                self._commands.append(self._ambries.take_untrusted(body, wall))
            case RemembranceBody(cathedrals=cathedrals):
                self._remember_untrusted(cathedrals, now)
            case _:
                raise RemoteProtocolError(Drop.OFFER_TYPE)

    def _remember_untrusted(self, cathedrals: Sequence[Address], now: float) -> None:
        if not self._registrant.remember:
            if self._wants_remembrance:
                return
            raise RemoteProtocolError(Drop.REMEMBRANCE_UNWANTED)
        usable = self._choice.told_untrusted(cathedrals)
        if usable and (usable != self._stored or now >= self._store_again_at):
            self._stored = usable
            self._store_again_at = now + STORE_AGAIN_S
            data = RemembranceBody(usable).encode_table()
            self._commands.append(StoreRemembrance(usable, data))

    def _choose(self, cathedral: Address, now: float) -> None:
        self._silence.begin(now, restarted=self.cathedral is None)
        self._choice.choose(cathedral)
        self._silence.signs = self._wants_remembrance
        self._clock = _new_clock()
        self._newest = 0
        self._pace.choose(cathedral, now)
        self._commands.append(CathedralChosen(cathedral, now))

    def _give_up(self, cathedral: Address, now: float) -> None:
        after = self._choice.next()
        self._events.append(CathedralSilent(cathedral, self._silence.silent_s(now), after))
        if after is None:
            self._silence.told()
        else:
            self._choose(after, now)

    def _due_at(self) -> float:
        """When something is due that the current cathedral has to be told."""
        pace = self._pace
        return min(pace.nat_at, self._turn_at(), pace.out_of_turn_at(self._spis))

    def _turn_at(self) -> float:
        """When the next info is due in its turn."""
        hurry = self._silence.overdue and self._choice.next() is not None
        return self._pace.info_at(overdue=hurry)

    def _inform(self, cathedral: Address, now: float, wall: float) -> None:
        """Send what is due. The same goes to the port of NAT detection, after an info or ahead."""
        main = [(CATHEDRAL, cathedral)]
        nat = [(NAT, Address(cathedral.host, self._registrant.nat_port))]
        if now >= self._pace.nat_at:
            self._pace.nat_sent()
            self._send(nat, now, wall)
        if now >= self._turn_at():
            ways = main + nat if self._pace.nat_follows else main
            self._pace.info_sent(self._spis, now)
            if self._send(ways, now, wall):
                self._silence.asked(now)
        elif now >= self._pace.out_of_turn_at(self._spis):
            self._pace.sent_out_of_turn(self._spis, now)
            self._send(main, now, wall)

    def _send(self, ways: Sequence[tuple[OfferLayout, Address]], now: float, wall: float) -> bool:
        """Send the same each way; returns whether there are keys for it."""
        try:
            base, cosk = self._keys.for_offers(now), self._keys.cosk()
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
            return False
        us, info = self._registrant, self._info()
        with base.reveal() as key, cosk.reveal() as signing:
            for layout, to in ways:
                offer = seal_request(
                    *(self._suite, key, us.flocks, us.identity, int(wall), info, signing, layout)
                )
                self._datagrams.append((offer, to))
        return True

    def _info(self) -> InfoBody:
        return InfoBody(
            self._registrant.tunnel,
            self._instance,
            self.generation,
            *self._spis,
            wants_remembrance=self._wants_remembrance,
            skips_ambry=self._registrant.kek is None,
        )


def _new_clock() -> PeerClock:
    return PeerClock(CURRENT.offer_validity_s, CURRENT.heartbeat_timeout_s)
