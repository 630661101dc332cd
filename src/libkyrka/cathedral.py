"""The calls of a context that talk to a cathedral, which relays packets and finds the peer.

The program sends what the ``send`` callback is handed, and hands all that comes from there to
``purgatory_input``: nothing else is special about a cathedral. What it answers becomes an event,
and an ambry, the shared secret wrapped for this device, is taken as if it had been loaded.
"""

from __future__ import annotations

from typing import Unpack

from chancel.errors import RemoteProtocolError
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer, Request
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferLayout
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Buffer
from libkyrka.arguments import buffer
from libkyrka.configuring import CathedralKeywords, configuration, key_paths
from libkyrka.constants import (
    KYRKA_ERROR_CATHEDRAL_CONFIG,
    KYRKA_ERROR_NO_CONFIG,
    KYRKA_ERROR_NO_COSK,
    KYRKA_ERROR_NO_SECRET,
    KYRKA_ERROR_PARAMETER,
    KYRKA_PACKET_SHROUD_CATHEDRAL,
    KYRKA_PEERS_PER_FLOCK,
)
from libkyrka.conversation import Conversation
from libkyrka.loading import Loading
from libkyrka.material import Kind
from libkyrka.notices import (
    Notice,
    ambry_received,
    liturgy_received,
    log,
    peer_discovered,
    remembrance_received,
)
from libkyrka.surroundings import Surroundings

_AMBRY_REFUSED = {
    Drop.AMBRY_TUNNEL: "got an ambry not ment for us ({tunnel:04x})",
    Drop.AMBRY_REPEATED: "duplicate ambry generation {generation:08x} from cathedral",
    Drop.AMBRY_BAD_TAG: "ambry integrity check failed",
    Drop.AMBRY_EXPIRED: "ambry generation 0x{generation:08x} is expired",
}
"""What is logged of an ambry that isn't taken."""


class CathedralCalls(Loading):
    """The part of a context that talks to a cathedral."""

    __slots__ = ("_conversation",)

    def _open(self, surroundings: Surroundings) -> None:
        self._conversation: Conversation | None = None
        super()._open(surroundings)

    def cathedral_configure(self, /, *_: object, **keywords: Unpack[CathedralKeywords]) -> None:
        """Say who we are, and load the keys whose files are named: secret, KEK and COSK.

        Key offers go through the cathedral from now on (:meth:`p2p_active`). Repeated with another
        flock, identity or tunnel, it begins another tunnel, without keys. Positional arguments are
        ignored. Raises ``RuntimeError``: a text or 2 (keywords), 1, 5 and 6 (files, as
        :meth:`secret_load_path`); then what was configured before stays, but for keys already
        loaded.
        """
        configured = configuration(keywords)
        if configured is None:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        for kind, path in key_paths(keywords):
            self._load_path(kind, path)
        self._p2p = False
        before = self._conversation
        if before is not None and before.configuration.ends == configured.ends:
            before.configuration = configured
        else:
            self._conversation = Conversation(configured, self._material, self._surroundings)
            self._begin_anew(configured.ends)

    def cathedral_notify(self) -> bool:
        """Register the tunnel at the cathedral, for two minutes: call it every few seconds.

        Raises ``RuntimeError``: 12 (not configured), 11 (no cathedral secret), and with a text of
        their own 15 (no COSK) and 18 (a shrouded offer is larger than the MTU).
        """
        return self._inform(CATHEDRAL)

    def cathedral_nat_detection(self) -> bool:
        """The same for the cathedral's other port, by which it finds out what our NAT does.

        The ``send`` callback tells it by its magic, ``KYRKA_CATHEDRAL_NAT_MAGIC``. Nothing comes
        back.
        """
        return self._inform(NAT)

    def cathedral_liturgy(self, peers: Buffer | None = None, /) -> bool:
        """Ask who of the group is there; or of the devices that have a 1 in ``peers`` (255 bytes),
        and those that ask for us. Every five seconds, for two minutes of presence.

        Raises as :meth:`cathedral_notify`, and 2 for other than 255 bytes.
        """
        wanted = None if peers is None else buffer(peers).tobytes()
        if wanted is not None and len(wanted) != KYRKA_PEERS_PER_FLOCK:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        conversation = self._configured()
        return self._ask(conversation, conversation.liturgy(wanted), CATHEDRAL)

    def _inform(self, layout: OfferLayout) -> bool:
        conversation, keys = self._configured(), self._keys
        return self._ask(conversation, conversation.info(keys.instance, keys.spis[1]), layout)

    def _configured(self) -> Conversation:
        if self._conversation is None:
            raise self._refuse(KYRKA_ERROR_NO_CONFIG)
        return self._conversation

    def _ask(self, conversation: Conversation, request: Request, layout: OfferLayout) -> bool:
        self.check_process()
        if Kind.CATHEDRAL not in self._material:
            raise self._refuse(KYRKA_ERROR_NO_SECRET)
        if Kind.COSK not in self._material:
            raise self._refuse(KYRKA_ERROR_NO_COSK)
        self._require_room_for_offers()
        offer = conversation.seal(request, layout)
        packet = self._shrouded(offer, KYRKA_PACKET_SHROUD_CATHEDRAL)
        magic = int.from_bytes(layout.magic, "big")
        configured = conversation.configuration
        configured.send(self, packet, magic, *configured.udata)
        return True

    def _receive_answer_untrusted(self, datagram: bytes) -> None:
        """Take a datagram of a cathedral's kind. Raises ``RuntimeError`` (13)."""
        conversation = self._conversation
        if conversation is None or Kind.CATHEDRAL not in self._material:
            raise self._refuse(KYRKA_ERROR_CATHEDRAL_CONFIG)
        try:
            answer = conversation.open_untrusted(datagram)
        except RemoteProtocolError as error:
            self._drops[error.reason] += 1
            if error.reason is Drop.OFFER_TOO_SHORT:
                self._say(log(f"got a cathedral packet of bad size ({len(datagram)})"))
            return
        if answer.identity != conversation.configuration.ends.identity:
            self._drops[Drop.OFFER_IDENTITY] += 1
            whose = f"({answer.body.TYPE:02x}) not ment for us ({answer.identity:08x})"
            self._say(log(f"got a cathedral packet {whose}"))
            return
        notice = self._take(conversation, answer.body, answer.timestamp)
        if notice is not None:
            self._say(notice)

    def _take(self, conversation: Conversation, answer: Answer, timestamp: int) -> Notice | None:
        match answer:
            case AmbryBody():
                return self._take_ambry(conversation, answer, timestamp)
            case AnswerBody():
                return peer_discovered(answer)
            case LiturgyBody():
                ours = answer.group == conversation.configuration.group
                return liturgy_received(answer) if ours else None
            case RemembranceBody():
                return remembrance_received(answer)

    def _take_ambry(self, conversation: Conversation, ambry: AmbryBody, timestamp: int) -> Notice:
        if Kind.DEVICE_KEK not in self._material:
            raise self._refuse(KYRKA_ERROR_CATHEDRAL_CONFIG)
        generation = ambry.header.generation
        try:
            secret = conversation.adopt_untrusted(ambry, timestamp)
        except RemoteProtocolError as error:
            self._drops[error.reason] += 1
            text = _AMBRY_REFUSED[error.reason]
            return log(text.format(tunnel=ambry.tunnel, generation=generation))
        replaced = Kind.SHARED in self._material
        self._material.keep(Kind.SHARED, secret)
        if replaced:
            self._keys.secret_replaced()
        return ambry_received(generation)
