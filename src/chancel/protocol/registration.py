"""A tunnel end's registration at its cathedrals (cathedral sections 2, 6 and 8.5).

A cathedral relays for those who are registered, and tells both ends of a tunnel where the other is.
Every few seconds, and sooner when there is news, it gets an *info*: a signed offer that says which
tunnel we are an end of and under which SPIs we receive. What it answers is unsigned, sealed under
the cathedral secret alone: where the peer is (nobody but the peer can prove it), an *ambry* (a
shared secret wrapped for this device, which no cathedral can open or make) and a *remembrance*
(other cathedrals). So a bad one can cost us availability, and nothing else.

The conversation with the current one is in ``client``, which ambries are taken in
``registration_ambry``. Here they meet. The shroud, and the size that TFC gives all datagrams, are
put on by whoever sends.
"""

from __future__ import annotations

from collections.abc import Sequence

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.asker import Asker
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.registration_ambry import Ambries
from chancel.protocol.registration_pace import Pace, Spis
from chancel.protocol.registration_types import (
    CathedralChosen,
    PeerAnnounced,
    Registrant,
    RegistrationCommand,
)
from chancel.vault.ambries import AmbryHistory
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.offer import OfferLayout
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, Buffer, InstanceId, Spi


class Registration(Asker[RegistrationCommand]):
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
        super().__init__(suite, registrant, now, wall, behaviour)
        self._registrant = registrant
        self._proves_paths = behaviour.proves_paths and registrant.nat_port != 0
        self._ambries = Ambries(suite, registrant, self._client.keys, self._events)
        self._client.silence.awaited = registrant.kek is not None
        self._instance = instance
        self._spis: Spis = (None, None)
        self._pace = Pace(now, detects_nat=bool(registrant.nat_port))
        self.resolved(cathedrals, now)

    @property
    def generation(self) -> int:
        """Of the ambry in use; 0 for none."""
        return self._ambries.generation

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted, unmasked datagram of a cathedral's kind; what is wrong is counted."""
        try:
            body = self._client.open_untrusted(datagram, source, now, wall)
            self._pace.heard(now)
            answer, sign = isinstance(body, AnswerBody), isinstance(body, RemembranceBody)
            if self._client.heard(now, answer=answer, sign=sign):
                self._commands.append(CathedralChosen(source, now))
            self._take_untrusted(source, body, now, wall)
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
        self._client.silence.awaited = False

    def not_adopted(self, problem: str, now: float) -> None:
        """The secret of the last ``AdoptSecret`` could not be kept; ``problem`` is a sentence.

        It comes again with the next offer. Raises ``LocalProtocolError`` if it was answered before.
        """
        del now
        self._ambries.not_adopted(problem)

    def peer_heard(self, at: float) -> None:
        """As :meth:`Client.peer_heard`."""
        self._client.peer_heard(at)

    def renew_instance(self, instance: InstanceId, now: float) -> None:
        """We are another instance from now on, as the peer is told, too."""
        self._instance = instance
        self._pace.restart(now)

    def network_changed(self, now: float) -> None:
        """Our own address may have changed, or we may have slept."""
        self._pace.announce(now)

    def recall_ambries(self, history: AmbryHistory) -> None:
        """As :meth:`Ambries.recall`: at start."""
        self._ambries.recall(history)

    def wake(self, now: float, wall: float) -> None:
        """Do what is due. Too early or too late does no harm."""
        if self._go_on(now, wall):
            self._pace.announce(now)
        if self.cathedral is not None:
            self._inform(self.cathedral, now, wall)

    def _take_untrusted(self, source: Address, body: Answer, now: float, wall: float) -> None:
        match body:
            case AnswerBody(peer=peer, same_external_ipv4=same, peer_proves_paths=proves):
                if peer is not None:
                    self._client.promised(now)
                    self._pace.answered(now, directly=peer.host != source.host)
                    self._commands.append(PeerAnnounced(peer, now, same, proves))
            case AmbryBody():
                self._commands.append(self._ambries.take_untrusted(body, wall))
            case RemembranceBody(cathedrals=cathedrals):
                if (store := self._client.remember_untrusted(cathedrals, now)) is not None:
                    self._commands.append(store)
            case _:
                raise RemoteProtocolError(Drop.OFFER_TYPE)

    def _choose(self, cathedral: Address, now: float) -> None:
        self._pace.choose(cathedral, now)
        self._commands.append(
            CathedralChosen(cathedral, now, self._client.choice.trusts(cathedral))
        )

    def _due_at(self) -> float:
        """When something is due that the current cathedral has to be told."""
        pace = self._pace
        return min(pace.nat_at, self._turn_at(), pace.out_of_turn_at(self._spis))

    def _turn_at(self) -> float:
        """When the next info is due in its turn."""
        return self._pace.info_at(overdue=self._client.hurries)

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
                self._client.silence.asked(now)
        elif now >= self._pace.out_of_turn_at(self._spis):
            self._pace.sent_out_of_turn(self._spis, now)
            self._send(main, now, wall)

    def _send(self, ways: Sequence[tuple[OfferLayout, Address]], now: float, wall: float) -> bool:
        """Send the same each way; returns whether there are keys for it."""
        try:
            self._client.ask(ways, self._info(), now, wall)
        except RemoteProtocolError as error:
            self.drops[error.reason] += 1
            return False
        return True

    def _info(self) -> InfoBody:
        return InfoBody(
            self._registrant.tunnel,
            self._instance,
            self.generation,
            *self._spis,
            wants_remembrance=self._client.wants_remembrance,
            skips_ambry=self._registrant.kek is None,
            proves_paths=self._proves_paths,
        )
