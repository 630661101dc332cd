"""The primitives of large simulations: real ones that repeat, and ones that cost next to nothing.

Both draw the same from the same generator, at the same moments, so a run under one has the events
of a run under the other, down to each SPI; only key bytes and ciphertexts differ (a test shows it).
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chancel.crypto.ed25519 import SIGNATURE_BYTES
from chancel.crypto.suite import TAG_BYTES, Aead, EcdhKeyPair, KemKeyPair, Suite
from chancel.crypto.system import MlKem1024KeyPair, SystemSuite, X25519KeyPair
from chancel.sim.network_scenario import Crypto
from chancel.sim.suite import FastSuite
from chancel.wire.types import Buffer

_SEED_BYTES: Final = 32
_HASH: Final = struct.Struct("!q")

MAX_REMEMBERED: Final = 1 << 16
"""Signatures whose answer is remembered at a time: those of the last seconds."""

Verified = dict[tuple[bytes, bytes, bytes], bool]
"""What came of public key, message and signature."""


class RealSuite(SystemSuite):
    """The primitives of programs; random bytes and key pairs from ``rng``.

    ML-KEM's encapsulation has its own randomness, as nobody can give it any. Every cathedral of a
    federation verifies each signature, the same bytes always with the same result: so those that
    share ``verified`` verify it once.
    """

    def __init__(self, rng: random.Random, verified: Verified) -> None:
        super().__init__()
        self._rng = rng
        self._verified = verified

    def random(self, size: int) -> bytes:
        return self._rng.randbytes(size)

    def ecdh_key_pair(self) -> EcdhKeyPair:
        seed = self.random(_SEED_BYTES)
        return X25519KeyPair(X25519PrivateKey.from_private_bytes(seed))

    def kem_key_pair(self) -> KemKeyPair:
        seed = hashlib.sha512(self.random(_SEED_BYTES)).digest()
        return MlKem1024KeyPair(MLKEM1024PrivateKey.from_seed_bytes(seed))

    def kem_encapsulate(self, peer_public: Buffer) -> tuple[bytes, bytes]:
        self.random(_SEED_BYTES)
        return super().kem_encapsulate(peer_public)

    def verify_untrusted(self, public: bytes, message: Buffer, signature: Buffer) -> bool:
        question = (public, bytes(message), bytes(signature))
        answer = self._verified.get(question)
        if answer is None:
            answer = super().verify_untrusted(*question)
            if len(self._verified) >= MAX_REMEMBERED:
                self._verified.clear()
            self._verified[question] = answer
        return answer


class QuickSuite(FastSuite):
    """A :class:`FastSuite` whose ciphers are no ciphers either (see :class:`_Reversal`), and whose
    derived keys and signatures are Python's own hash of everything, over and over: whatever must
    differ does, in one process. The hashes of libraries take longer than the protocol does."""

    def aead(self, key: Buffer) -> Aead:
        return _Reversal(bytes(key))

    def kmac256(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        return _stretched(hash((bytes(key), bytes(data), size, custom)), size)

    def _stamp(self, public: bytes, message: Buffer) -> bytes:
        return _stretched(hash((public, bytes(message))), SIGNATURE_BYTES)


class _Reversal:
    """The shape of AES-256-GCM: the text backwards, which nothing notices as readable, and a tag of
    Python's own hash of everything, which notices another key, and damage. It hides nothing."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        text = bytes(data)[::-1]
        return text + self._tag(nonce, text, associated_data)

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        sealed = bytes(data)
        text = sealed[:-TAG_BYTES]
        if sealed[-TAG_BYTES:] != self._tag(nonce, text, associated_data):
            raise InvalidTag
        return text[::-1]

    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        sealed = self.encrypt(nonce, data, associated_data)
        memoryview(buf)[:] = sealed
        return len(sealed)

    def decrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        text = self.decrypt(nonce, data, associated_data)
        memoryview(buf)[:] = text
        return len(text)

    def _tag(self, nonce: Buffer, text: bytes, associated_data: Buffer) -> bytes:
        number = hash((self._key, bytes(nonce), text, bytes(associated_data)))
        return _stretched(number, TAG_BYTES)


def _stretched(number: int, size: int) -> bytes:
    """So many bytes of a hash, with all of it in the first eight: a ledger knows keys by those."""
    return (_HASH.pack(number) * -(-size // _HASH.size))[:size]


def suites(crypto: Crypto) -> Callable[[random.Random], Suite]:
    """What makes the suites of one simulation."""
    if crypto is Crypto.FAST:
        return QuickSuite
    verified: Verified = {}
    return lambda rng: RealSuite(rng, verified)
