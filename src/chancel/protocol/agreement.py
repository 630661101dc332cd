"""What the two sides of an exchange know, and the keys that follow (protocol section 6).

An exchange makes two one-way keys. For the direction in which we send, we own the ML-KEM key pair
and the peer answers it with a ciphertext; SPI and salt are the receiver's choice in each direction.
Each direction also has an X25519 agreement and one random value of each side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container

from chancel.crypto.kdf import KeySchedule, Purpose, TrafficInputs
from chancel.crypto.suite import EcdhKeyPair, KemKeyPair, Suite
from chancel.wire.offer import FRAGMENT_BYTES, RANDOM_BYTES, ExchangeBody, OfferState
from chancel.wire.types import Buffer, Flocks, InstanceId, Salt, SessionKey, Spi

_SPI_BYTES = 4
_SALT_BYTES = 4
_PREFIX_SHIFT = 16


@dataclasses.dataclass(frozen=True, slots=True)
class OwnKey:
    """What we offer: our key for sending, and SPI and salt under which we want to receive."""

    spi: Spi
    salt: Salt
    kem: KemKeyPair = dataclasses.field(repr=False)
    ecdh: EcdhKeyPair = dataclasses.field(repr=False)
    random: bytes = dataclasses.field(repr=False)

    @property
    def header_spi(self) -> Spi:
        """The SPI in the header of offers that carry this."""
        return self.spi

    def bodies(self, id_: InstanceId) -> list[ExchangeBody]:
        """The four bodies that carry this to the peer; ``id_`` is our instance id."""
        public = self.ecdh.public
        return _bodies(id_, self.spi, self.salt, OfferState.PK, public, self.kem.public)


@dataclasses.dataclass(frozen=True, slots=True)
class PeerKey:
    """What the peer offers, once its encapsulation key is complete (1568 bytes)."""

    id: InstanceId
    spi: Spi
    salt: Salt
    ecdh: bytes
    random: bytes
    kem: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """How we answered the peer's key. Nothing in it is secret: all of it goes to the peer.

    ``own_spi`` is the SPI of ours that the resulting receive key belongs to.
    """

    peer_spi: Spi
    peer_salt: Salt
    own_spi: Spi
    ecdh: bytes
    random: bytes
    ciphertext: bytes = dataclasses.field(repr=False)

    @property
    def header_spi(self) -> Spi:
        """The SPI in the header of offers that carry this."""
        return self.own_spi

    def bodies(self, id_: InstanceId) -> list[ExchangeBody]:
        """The four bodies that carry this to the peer; ``id_`` is our instance id."""
        return _bodies(
            id_, self.peer_spi, self.peer_salt, OfferState.CT, self.ecdh, self.ciphertext
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Ciphertext:
    """The peer's answer to our key, once its ciphertext is complete (1568 bytes)."""

    id: InstanceId
    ecdh: bytes
    random: bytes
    kem: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Deriver:
    """Derives traffic keys for one tunnel from its secret, flocks and our instance id."""

    suite: Suite
    secret: Buffer = dataclasses.field(repr=False)
    flocks: Flocks
    local_id: InstanceId
    keys: KeySchedule

    def answer(self, own: OwnKey, peer: PeerKey) -> tuple[Answer, SessionKey]:
        """Answer the peer's key; returns the key to receive with, under ``own.spi``.

        Raises ``RemoteProtocolError`` (``OFFER_WEAK_KEY``).
        """
        ecdh = self.suite.ecdh_key_pair()
        random = self.suite.random(RANDOM_BYTES)
        ciphertext, shared = self.suite.kem_encapsulate(peer.kem)
        key = self._key(
            ours=(Purpose.TRAFFIC_RX, ecdh, random),
            theirs=(Purpose.TRAFFIC_TX, peer.ecdh, peer.random),
            kem_secret=shared,
            peer_id=peer.id,
        )
        return Answer(peer.spi, peer.salt, own.spi, ecdh.public, random, ciphertext), key

    def accept(self, own: OwnKey, answer: Ciphertext) -> SessionKey:
        """Return the key to send with. Raises ``RemoteProtocolError`` (``OFFER_WEAK_KEY``)."""
        return self._key(
            ours=(Purpose.TRAFFIC_TX, own.ecdh, own.random),
            theirs=(Purpose.TRAFFIC_RX, answer.ecdh, answer.random),
            kem_secret=own.kem.decapsulate(answer.kem),
            peer_id=answer.id,
        )

    def _key(
        self,
        ours: tuple[Purpose, EcdhKeyPair, bytes],
        theirs: tuple[Purpose, bytes, bytes],
        kem_secret: bytes,
        peer_id: InstanceId,
    ) -> SessionKey:
        """Order everything with the larger instance id first, as it sees the direction."""
        our_purpose, ecdh, our_random = ours
        their_purpose, their_public, their_random = theirs
        larger = peer_id < self.local_id
        publics = (ecdh.public, their_public)
        randoms = (our_random, their_random)
        purpose = our_purpose if larger else their_purpose
        inputs = TrafficInputs(
            ecdh_secret=ecdh.exchange(their_public),
            kem_secret=kem_secret,
            publics=publics if larger else publics[::-1],
            randoms=randoms if larger else randoms[::-1],
        )
        base = self.keys.base_key(self.suite, purpose, self.secret, self.flocks)
        return self.keys.traffic_key(self.suite, base, inputs)


def make_own_key(suite: Suite, spi: Spi) -> OwnKey:
    """Make what we offer in one exchange, under an SPI of :func:`draw_spi`."""
    return OwnKey(
        spi=spi,
        salt=Salt(suite.random(_SALT_BYTES)),
        kem=suite.kem_key_pair(),
        ecdh=suite.ecdh_key_pair(),
        random=suite.random(RANDOM_BYTES),
    )


def draw_spi(suite: Suite, prefix: int, taken: Container[int]) -> Spi:
    """Draw an SPI that is neither 0 nor ``taken``.

    A 16-bit prefix other than 0 replaces its upper half.
    """
    while True:
        spi = int.from_bytes(suite.random(_SPI_BYTES), "big")
        if prefix:
            spi = prefix << _PREFIX_SHIFT | spi & (1 << _PREFIX_SHIFT) - 1
        if spi != 0 and spi not in taken:
            return Spi(spi)


def _bodies(
    id_: InstanceId, spi: Spi, salt: Salt, state: OfferState, ecdh: bytes, kem: bytes
) -> list[ExchangeBody]:
    return [
        ExchangeBody(id_, spi, salt, state, number, ecdh, kem[at : at + FRAGMENT_BYTES])
        for number, at in enumerate(range(0, len(kem), FRAGMENT_BYTES))
    ]
