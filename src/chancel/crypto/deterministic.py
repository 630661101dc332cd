"""A suite whose randomness repeats, for tests and simulations. Never for a program.

The primitives are the real ones. Random bytes and both kinds of key pair follow from the seed.
ML-KEM *encapsulation* keeps the library's own randomness, which can't be injected: ciphertexts and
the keys that come from them differ from run to run, while every size, order and timing is the same.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chancel.crypto.suite import EcdhKeyPair, KemKeyPair
from chancel.crypto.system import MlKem1024KeyPair, SystemSuite, X25519KeyPair


class SeededSuite(SystemSuite):
    """Random bytes are SHAKE256(seed, be64 number of the call); equal seeds give equal suites."""

    def __init__(self, seed: bytes) -> None:
        super().__init__()
        self._stream = hashlib.shake_256(len(seed).to_bytes(8, "big") + seed)
        self._calls = 0

    def random(self, size: int) -> bytes:
        block = self._stream.copy()
        block.update(self._calls.to_bytes(8, "big"))
        self._calls += 1
        return block.digest(size)

    def ecdh_key_pair(self) -> EcdhKeyPair:
        return X25519KeyPair(X25519PrivateKey.from_private_bytes(self.random(32)))

    def kem_key_pair(self) -> KemKeyPair:
        return MlKem1024KeyPair(MLKEM1024PrivateKey.from_seed_bytes(self.random(64)))
