"""One exchange, from its start to its end: what was offered, collected and is sent again."""

from __future__ import annotations

import math

from chancel.errors import RemoteProtocolError
from chancel.protocol.agreement import Ciphertext, OwnKey, PeerKey
from chancel.protocol.behaviour import Behaviour
from chancel.protocol.fragments import FragmentSet
from chancel.protocol.offers import ExchangeOffer
from chancel.protocol.profile import Profile
from chancel.protocol.states import SENDS, State, Step, after
from chancel.wire.drop import Drop
from chancel.wire.offer import OfferState
from chancel.wire.types import InstanceId


class Handshake:
    """A running exchange; ``state`` is ``IDLE`` once it is over.

    Transmissions follow each other by the offer interval. After the last one it waits for another
    interval and expires: ``transmissions_left`` is 0 and ``transmit_at`` has come.
    """

    def __init__(self, own: OwnKey, now: float, profile: Profile, behaviour: Behaviour) -> None:
        self.own = own
        self.state = after(State.IDLE, Step.START)
        self.transmissions_left = profile.offer_transmissions
        self._profile = profile
        self._behaviour = behaviour
        self._settled_at = now + behaviour.settle_s
        self._transmit_at = now
        self._peer_id: InstanceId | None = None
        self._key: FragmentSet | None = None
        self._ciphertext: FragmentSet | None = None

    def __repr__(self) -> str:
        return f"<Handshake {self.state.value} spi={self.own.spi:08x}>"

    def step(self, step: Step) -> None:
        """Go to the next state."""
        self.state = after(self.state, step)

    def settled(self, now: float) -> bool:
        """Whether the peer had the time to see this exchange."""
        return now >= self._settled_at

    def transmit_at(self) -> float:
        """When to transmit or expire; infinite in the state in which the reference stalls."""
        if self.state is State.USED and not self._behaviour.transmit_while_peer_uses_key:
            return math.inf
        return self._transmit_at

    def transmission(self, now: float) -> tuple[OfferState, ...]:
        """Count one transmission; returns what it consists of."""
        self.transmissions_left -= 1
        self._transmit_at = now + self._profile.offer_interval_s
        return SENDS[self.state]

    def answered(self, peer: PeerKey) -> None:
        """The peer's key was answered: there is as much time again as at the start."""
        self.step(Step.ANSWER)
        self._peer_id = peer.id
        self.transmissions_left = self._profile.offer_transmissions

    def is_of_other_instance(self, offer: ExchangeOffer) -> bool:
        """Whether the offer comes from another instance than the key that we answered."""
        return self._peer_id is not None and offer.body.id != self._peer_id

    def reconsider(self, offer: ExchangeOffer, now: float) -> bool:
        """Judge a new key of the peer after we have answered one; whether to begin anew for it.

        If not, this exchange goes on and answers the new key as well. Raises
        ``RemoteProtocolError`` (``OFFER_UNEXPECTED``) for a key that is older than the answered
        one, or, in the reference, of the same instance.
        """
        restarted = self._behaviour.notice_restart and self.is_of_other_instance(offer)
        late = self._key is not None and offer.timestamp < self._key.newest
        if late or not (restarted or self._behaviour.restart_on_new_spi):
            raise RemoteProtocolError(Drop.OFFER_UNEXPECTED)
        if restarted or self.state is not State.ANSWERED or self.settled(now):
            return True
        self.step(Step.PEER_ANEW)
        self._key = None
        return False

    def collect_key(self, offer: ExchangeOffer) -> PeerKey | None:
        """Take a fragment of the peer's key; returns the key with the last one.

        Raises ``RemoteProtocolError``: ``OFFER_FRAGMENT_SEEN``, or ``OFFER_UNEXPECTED`` for one of
        an older key.
        """
        body = offer.body
        self._key = self._matching(self._key, (body.id, body.spi), offer.timestamp)
        kem = self._key.add_untrusted(body.fragment, body.kem, offer.timestamp)
        if kem is None:
            return None
        return PeerKey(body.id, body.spi, body.salt, body.ecdh, offer.random, kem)

    def collect_ciphertext(self, offer: ExchangeOffer) -> Ciphertext | None:
        """Take a fragment of the peer's answer; returns the answer with the last one.

        Raises as :meth:`collect_key` does.
        """
        body = offer.body
        self._ciphertext = self._matching(self._ciphertext, body.ecdh, offer.timestamp)
        kem = self._ciphertext.add_untrusted(body.fragment, body.kem, offer.timestamp)
        return None if kem is None else Ciphertext(body.id, body.ecdh, offer.random, kem)

    def discard_key(self) -> None:
        """The collected key could not be answered: collect its repeats."""
        self._key = None

    def discard_ciphertext(self) -> None:
        """The collected answer could not be used: collect its repeats."""
        self._ciphertext = None

    def _matching(
        self, collected: FragmentSet | None, origin: object, timestamp: int
    ) -> FragmentSet:
        """The set that a fragment belongs to: the collected one, or a new one in its place."""
        if collected is None:
            return FragmentSet(origin, timestamp)
        if collected.origin == origin or not self._behaviour.discard_mixed_fragments:
            return collected
        if timestamp < collected.newest:
            raise RemoteProtocolError(Drop.OFFER_UNEXPECTED)
        return FragmentSet(origin, timestamp)
