"""What a context says to its cathedral, and what it believes of the answers (kyrka section 3).

A cathedral relays packets, finds the peer and hands out the shared secret, wrapped: an ambry.
Whoever the answers come from, they are sealed under the cathedral secret; where from, the program
knows.
"""

from __future__ import annotations

from typing import Final

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.errors import RemoteProtocolError
from chancel.protocol.ambry import open_ambry_untrusted
from chancel.protocol.cathedral_offers import Opened, open_answer_untrusted, seal_request
from chancel.protocol.profile import CURRENT
from chancel.vault.secret import Secret
from chancel.wire.ambry import NO_GENERATION
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, Answer, Request
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.info import InfoBody
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.offer import OfferLayout
from chancel.wire.types import InstanceId, Spi
from libkyrka.configuring import Configuration
from libkyrka.material import Kind, Material
from libkyrka.surroundings import Surroundings

_EVERYBODY: Final = bytes((1,)) * PEERS_BYTES


class Conversation:
    """The conversation of one client, whose keys are in ``material`` when they are needed."""

    def __init__(
        self, configuration: Configuration, material: Material, surroundings: Surroundings
    ) -> None:
        self.configuration = configuration
        self.generation = NO_GENERATION
        """Of the ambry in use."""
        self._adopted_at = 0
        self._material = material
        self._surroundings = surroundings

    def info(self, instance: InstanceId, receive_spi: Spi) -> InfoBody:
        """What registers the tunnel. The library has one receive key, and tells it as both."""
        return InfoBody(
            self.configuration.ends.tunnel,
            instance,
            self.generation,
            receive_spi or None,
            receive_spi or None,
            wants_remembrance=self.configuration.remembrance,
        )

    def liturgy(self, wanted: bytes | None) -> LiturgyBody:
        """What asks who is there: everybody of the group, or those that are ``wanted`` (255 bytes,
        1 for each) and those that want us.

        A program that has no tunnel yet, and only looks for peers, gives its device id as tunnel.
        The reference takes the lower half in any case, which of a tunnel is the peer's.
        """
        tunnel = self.configuration.ends.tunnel
        return LiturgyBody(
            tunnel >> 8 or tunnel,
            self.configuration.group,
            _EVERYBODY if wanted is None else wanted,
            self.configuration.hidden,
            wants_remembrance=self.configuration.remembrance,
            signaling=wanted is not None,
        )

    def seal(self, request: Request, layout: OfferLayout) -> bytes:
        """Return the offer; raises ``VaultError`` without cathedral secret or COSK."""
        suite, wall = self._surroundings.suite, self._surroundings.wall()
        flocks, identity, _ = self.configuration.ends
        base = self._base()
        with self._material.get(Kind.COSK).reveal() as cosk:
            return seal_request(suite, base, flocks, identity, int(wall), request, cosk, layout)

    def open_untrusted(self, datagram: bytes) -> Opened[Answer]:
        """Open an answer. Whether it is for us is not looked at: that it isn't is worth a word.

        Raises ``VaultError`` without cathedral secret, and ``RemoteProtocolError``:
        ``OFFER_TOO_SHORT``, ``OFFER_BAD_TAG``, ``OFFER_TYPE``, ``OFFER_TIME``.
        """
        said_for = CathedralId(CATHEDRAL.decode_untrusted(datagram).spi)
        suite = self._surroundings.suite
        answer = open_answer_untrusted(suite, self._base(), said_for, datagram)
        if abs(answer.timestamp - int(self._surroundings.wall())) > CURRENT.offer_validity_s:
            raise RemoteProtocolError(Drop.OFFER_TIME)
        return answer

    def adopt_untrusted(self, ambry: AmbryBody, timestamp: int) -> Secret:
        """Return the shared secret in an ambry that a cathedral sent at this time of its clock.

        Raises ``VaultError`` without KEK, and ``RemoteProtocolError``: ``AMBRY_TUNNEL``,
        ``AMBRY_REPEATED`` (it is in use; or older than what is in use, and so sent again by
        somebody), ``AMBRY_BAD_TAG``, ``AMBRY_EXPIRED``.
        """
        flocks, _, tunnel = self.configuration.ends
        repeated = ambry.header.generation == self.generation or timestamp < self._adopted_at
        if repeated and ambry.tunnel == tunnel:
            raise RemoteProtocolError(Drop.AMBRY_REPEATED)
        suite, wall = self._surroundings.suite, self._surroundings.wall()
        with self._material.get(Kind.DEVICE_KEK).reveal() as kek:
            secret = open_ambry_untrusted(suite, kek, flocks, tunnel, ambry, wall)
        self.generation = ambry.header.generation
        self._adopted_at = timestamp
        return secret

    def _base(self) -> bytes:
        with self._material.get(Kind.CATHEDRAL).reveal() as secret:
            own = self.configuration.ends.flocks.own
            return client_offer_base(self._surroundings.suite, secret, own)
