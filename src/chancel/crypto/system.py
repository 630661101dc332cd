"""The suite of real programs: ``cryptography`` for everything but KMAC256, the system's randomness.

X25519, ML-KEM-1024 and AES-256-GCM come from one audited library. Its private key objects hold
their secrets in memory that Python can't erase; they are freed, and zeroed by OpenSSL, when the
last reference goes.
"""

from __future__ import annotations

import os

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - else imported when first used
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chancel.crypto import ed25519, kmac, kmac_keyed
from chancel.crypto.suite import (
    KEM_CIPHERTEXT_BYTES,
    KEY_BYTES,
    Aead,
    EcdhKeyPair,
    KemKeyPair,
    KeyedKmac256,
)
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer


class X25519KeyPair:
    """An :class:`EcdhKeyPair` around a private key of ``cryptography``."""

    __slots__ = ("_private", "_public")

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @property
    def public(self) -> bytes:
        return self._public

    def exchange(self, peer_public: Buffer) -> bytes:
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(bytes(peer_public)))
        except ValueError as error:
            raise RemoteProtocolError(Drop.OFFER_WEAK_KEY) from error


class MlKem1024KeyPair:
    """A :class:`KemKeyPair` around a private key of ``cryptography``."""

    __slots__ = ("_private", "_public")

    def __init__(self, private: MLKEM1024PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @property
    def public(self) -> bytes:
        return self._public

    def decapsulate(self, ciphertext: Buffer) -> bytes:
        if len(ciphertext) != KEM_CIPHERTEXT_BYTES:
            raise LocalProtocolError(
                f"an ML-KEM-1024 ciphertext has {KEM_CIPHERTEXT_BYTES} bytes: collect all fragments"
            )
        return self._private.decapsulate(bytes(ciphertext))


class SystemSuite:
    """The :class:`chancel.crypto.suite.Suite` of programs.

    Making one finds the library that computes KMAC256, so make it before entering a sandbox.
    """

    def __init__(self) -> None:
        kmac_keyed.load()

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def ecdh_key_pair(self) -> EcdhKeyPair:
        return X25519KeyPair(X25519PrivateKey.generate())

    def kem_key_pair(self) -> KemKeyPair:
        return MlKem1024KeyPair(MLKEM1024PrivateKey.generate())

    def kem_encapsulate(self, peer_public: Buffer) -> tuple[bytes, bytes]:
        try:
            public = MLKEM1024PublicKey.from_public_bytes(bytes(peer_public))
        except ValueError as error:
            raise RemoteProtocolError(Drop.OFFER_WEAK_KEY) from error
        shared, ciphertext = public.encapsulate()
        return ciphertext, shared

    def aead(self, key: Buffer) -> Aead:
        if len(key) != KEY_BYTES:
            raise LocalProtocolError(f"an AES-256-GCM key has {KEY_BYTES} bytes, not {len(key)}")
        return AESGCM(key)

    def kmac256(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        return kmac.kmac256(key, data, size, custom)

    def keyed_kmac256(self, key: Buffer, custom: bytes) -> KeyedKmac256:
        return kmac_keyed.keyed(key, custom)

    def sign(self, seed: Buffer, message: Buffer) -> bytes:
        return ed25519.sign(seed, message)

    def verify_untrusted(self, public: bytes, message: Buffer, signature: Buffer) -> bool:
        return ed25519.verify_untrusted(public, message, signature)
