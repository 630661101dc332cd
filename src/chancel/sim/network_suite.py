"""The primitives of large simulations: real ones that repeat, and ones that cost next to nothing.

Both draw the same from the same generator, at the same moments, so a run under one has the events
of a run under the other, down to each SPI; only key bytes and ciphertexts differ (a test shows it).

Signatures are no part of a suite. Every cathedral of a federation verifies each of them, the same
bytes always with the same result: so in a simulation each is verified once (``real``), or is a
hash (``fast``), which **protects nothing**, as all of :mod:`chancel.sim.suite`.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chancel.crypto import ed25519
from chancel.crypto.suite import Aead, EcdhKeyPair, KemKeyPair, Suite
from chancel.crypto.system import MlKem1024KeyPair, SystemSuite, X25519KeyPair
from chancel.sim.network_scenario import Crypto
from chancel.sim.suite import FastSuite
from chancel.wire.types import Buffer

K = TypeVar("K")
V = TypeVar("V")

Sign = Callable[[Buffer, Buffer], bytes]
Verify = Callable[[bytes, Buffer, Buffer], bool]

_SEED_BYTES: Final = 32

MAX_REMEMBERED: Final = 1 << 16
"""Signatures, keys and ciphers that are remembered at a time: those of the last seconds."""


class RealSuite(SystemSuite):
    """The primitives of programs; random bytes and key pairs from ``rng``.

    ML-KEM's encapsulation has its own randomness, as nobody can give it any.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

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


class QuickSuite(FastSuite):
    """A :class:`FastSuite` that derives each key once, however many have it.

    What one cathedral seals for thirty others is sealed under one key, which each of them derives.
    """

    def __init__(self, rng: random.Random, remembered: Remembered) -> None:
        super().__init__(rng)
        self._outputs = remembered.outputs
        self._ciphers = remembered.ciphers

    def kmac256(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        question = (bytes(key), bytes(data), size, custom)
        output = self._outputs.get(question)
        if output is None:
            output = super().kmac256(*question[:2], size, custom)
            _keep(self._outputs, question, output)
        return output

    def aead(self, key: Buffer) -> Aead:
        key = bytes(key)
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = super().aead(key)
            _keep(self._ciphers, key, cipher)
        return cipher


class Remembered:
    """What the suites of one simulation have derived lately."""

    def __init__(self) -> None:
        self.outputs: dict[tuple[bytes, bytes, int, bytes], bytes] = {}
        self.ciphers: dict[bytes, Aead] = {}


def suites(crypto: Crypto) -> Callable[[random.Random], Suite]:
    """What makes the suites of one simulation."""
    if crypto is Crypto.REAL:
        return RealSuite
    remembered = Remembered()
    return lambda rng: QuickSuite(rng, remembered)


@contextlib.contextmanager
def signatures(crypto: Crypto) -> Iterator[None]:
    """While a simulation runs in this process, sign and verify as ``crypto`` says."""
    sign, verify = ed25519.sign, ed25519.verify_untrusted
    notary = _FastNotary() if crypto is Crypto.FAST else _Notary(sign, verify)
    _install(notary.sign, notary.verify_untrusted)
    try:
        yield
    finally:
        _install(sign, verify)


def _install(sign: Sign, verify: Verify) -> None:
    vars(ed25519).update(sign=sign, verify_untrusted=verify)


class _Notary:
    """Verifies what it has not seen before."""

    def __init__(self, sign: Sign, verify: Verify) -> None:
        self.sign = sign
        self._verify = verify
        self._known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def verify_untrusted(self, public: bytes, message: Buffer, signature: Buffer) -> bool:
        question = (public, bytes(message), bytes(signature))
        answer = self._known.get(question)
        if answer is None:
            answer = self._verify(*question)
            _keep(self._known, question, answer)
        return answer


class _FastNotary:
    """A signature is a hash of the public key, which the private seed gives, and the message."""

    def __init__(self) -> None:
        self._publics: dict[bytes, bytes] = {}

    def sign(self, seed: Buffer, message: Buffer) -> bytes:
        seed = bytes(seed)
        public = self._publics.get(seed)
        if public is None:
            private = Ed25519PrivateKey.from_private_bytes(seed)
            public = self._publics[seed] = private.public_key().public_bytes_raw()
        return _stamp(public, message)

    def verify_untrusted(self, public: bytes, message: Buffer, signature: Buffer) -> bool:
        return _stamp(public, message) == bytes(signature)


def _stamp(public: bytes, message: Buffer) -> bytes:
    return hashlib.blake2b(message, key=public).digest()


def _keep(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[key] = value
