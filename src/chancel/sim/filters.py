"""Scripted faults: predicates for ``Network.refuse`` that take chosen datagrams off the network."""

from __future__ import annotations

import random

from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf import OfferKind, Purpose, base_key, offer_key
from chancel.crypto.suite import Suite
from chancel.sim.network import Refuse
from chancel.vault.secret import Secret
from chancel.wire.offer import (
    CURRENT,
    DATA_BYTES,
    HEADER_BYTES,
    MAGIC,
    NONCE,
    OFFER_BYTES,
    ExchangeBody,
    OfferData,
    OfferState,
)
from chancel.wire.types import Address, Flocks


def fragment_loss(probability: float, rng: random.Random) -> Refuse:
    """Lose only offers, each of which carries one ML-KEM fragment, with this probability."""

    def refuse(datagram: bytes, source: Address, destination: Address, now: float) -> bool:
        del source, destination, now
        return datagram[:8] == MAGIC and rng.random() < probability

    return refuse


class CiphertextBlock:
    """Takes ciphertext (CT) fragments off the network while ``active``; needs the secret to see.

    ``sender`` limits it to one host's; ``None`` means both ends. Public key fragments, heartbeats
    and payloads pass: this is the loss that makes one end hear a peer it cannot talk to.
    """

    def __init__(
        self, secret: Secret, flocks: Flocks, suite: Suite, sender: str | None = None
    ) -> None:
        with secret.reveal() as key:
            self._base = base_key(suite, Purpose.PEER_OFFER, key, flocks)
        self._suite = suite
        self._sender = sender
        self.active = True
        self.blocked = 0

    def __call__(self, datagram: bytes, source: Address, destination: Address, now: float) -> bool:
        """Whether to take this datagram off the network."""
        del destination, now
        if not self.active or datagram[:8] != MAGIC or self._sender not in (None, source.host):
            return False
        if self._state(datagram) is not OfferState.CT:
            return False
        self.blocked += 1
        return True

    def _state(self, datagram: bytes) -> OfferState | None:
        seed = CURRENT.decode_untrusted(datagram).seed
        cipher = self._suite.aead(offer_key(self._suite, OfferKind.EXCHANGE, self._base, seed))
        sealed = datagram[HEADER_BYTES:OFFER_BYTES]
        try:
            plaintext = cipher.decrypt(NONCE, sealed, datagram[:HEADER_BYTES])
        except InvalidTag:
            return None
        body = OfferData.decode_untrusted(plaintext[:DATA_BYTES]).body
        return body.state if isinstance(body, ExchangeBody) else None
