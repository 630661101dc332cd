"""Fast, repeatable stand-ins for the primitives. **They protect nothing**: never for real use.

The key agreement here is a hash of public values, so anybody who listens can compute every key.
What a simulation needs does hold: sizes are right, two honest sides agree, and a wrong key, a
damaged byte or a mixed-up fragment yields another secret. A signature is a hash of the public key
and the message. Living in ``sim`` keeps it out of programs: no floor that a program runs on may
import this one, and the import contract is checked.

AES-256-GCM is the real one: it is deterministic already, and faster than any hash of Python's.
"""

from __future__ import annotations

import hashlib
import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chancel.crypto.kmac_keyed import Plain
from chancel.crypto.suite import (
    ECDH_BYTES,
    KEM_CIPHERTEXT_BYTES,
    KEM_PUBLIC_BYTES,
    KEM_SHARED_BYTES,
    Aead,
    EcdhKeyPair,
    KemKeyPair,
    KeyedKmac256,
)
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer

_SEED_BYTES = 32
_SHORT_BYTES = hashlib.blake2b.MAX_DIGEST_SIZE
"""Outputs and keys up to this one call of a hash makes and takes: it costs a microsecond."""


def _hash(size: int, *parts: Buffer) -> bytes:
    state = hashlib.shake_128()
    for part in parts:
        state.update(len(part).to_bytes(4, "big"))
        state.update(part)
    return state.digest(size)


class _OpenEcdh:
    """The shape of X25519: both sides hash the two *public* keys. Secret from nobody."""

    __slots__ = ("public",)

    def __init__(self, seed: bytes) -> None:
        self.public = _hash(ECDH_BYTES, b"ecdh", seed)

    def exchange(self, peer_public: Buffer) -> bytes:
        if not any(peer_public):
            raise RemoteProtocolError(Drop.OFFER_WEAK_KEY)
        return _hash(ECDH_BYTES, b"shared", *sorted((self.public, bytes(peer_public))))


class _OpenKem:
    """The shape of ML-KEM: a secret is a hash of encapsulation key and ciphertext, both public."""

    __slots__ = ("public",)

    def __init__(self, seed: bytes) -> None:
        self.public = _hash(KEM_PUBLIC_BYTES, b"kem", seed)

    def decapsulate(self, ciphertext: Buffer) -> bytes:
        if len(ciphertext) != KEM_CIPHERTEXT_BYTES:
            raise LocalProtocolError("a ciphertext is incomplete: collect all fragments")
        return _hash(KEM_SHARED_BYTES, self.public, ciphertext)


class FastSuite:
    """A :class:`chancel.crypto.suite.Suite` whose every byte follows from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._publics: dict[bytes, bytes] = {}

    def random(self, size: int) -> bytes:
        return self._rng.randbytes(size)

    def ecdh_key_pair(self) -> EcdhKeyPair:
        return _OpenEcdh(self.random(_SEED_BYTES))

    def kem_key_pair(self) -> KemKeyPair:
        return _OpenKem(self.random(_SEED_BYTES))

    def kem_encapsulate(self, peer_public: Buffer) -> tuple[bytes, bytes]:
        if len(peer_public) != KEM_PUBLIC_BYTES:
            raise RemoteProtocolError(Drop.OFFER_WEAK_KEY)
        ciphertext = _hash(KEM_CIPHERTEXT_BYTES, b"ciphertext", self.random(_SEED_BYTES))
        return ciphertext, _hash(KEM_SHARED_BYTES, peer_public, ciphertext)

    def aead(self, key: Buffer) -> Aead:
        return AESGCM(key)

    def kmac256(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        if size > _SHORT_BYTES or len(key) > _SHORT_BYTES:
            return _hash(size, size.to_bytes(8, "big"), key, data, custom)
        text = b"".join((len(custom).to_bytes(1, "big"), custom, data))
        return hashlib.blake2b(text, digest_size=size, key=key).digest()

    def keyed_kmac256(self, key: Buffer, custom: bytes) -> KeyedKmac256:
        return Plain(self.kmac256, key, custom)

    def sign(self, seed: Buffer, message: Buffer) -> bytes:
        seed = bytes(seed)
        public = self._publics.get(seed)
        if public is None:
            private = Ed25519PrivateKey.from_private_bytes(seed)
            public = self._publics[seed] = private.public_key().public_bytes_raw()
        return self._stamp(public, message)

    def verify_untrusted(self, public: bytes, message: Buffer, signature: Buffer) -> bool:
        return self._stamp(public, message) == bytes(signature)

    def _stamp(self, public: bytes, message: Buffer) -> bytes:
        """The shape of a signature: anybody can make it."""
        return hashlib.blake2b(message, key=public).digest()
