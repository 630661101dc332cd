"""A suite that tells a life's ledger what passes through it, and changes nothing."""

from __future__ import annotations

from chancel.crypto.kdf import TRAFFIC_LABEL
from chancel.crypto.suite import Aead, EcdhKeyPair, KemKeyPair, Suite
from chancel.sim.ledger import KeyRecord, Life
from chancel.wire.types import Buffer


class WatchedSuite:
    """Any :class:`chancel.crypto.suite.Suite`, watched."""

    def __init__(self, inner: Suite, life: Life) -> None:
        self._inner = inner
        self._life = life
        self.random = inner.random
        self.kem_encapsulate = inner.kem_encapsulate
        self.keyed_kmac256 = inner.keyed_kmac256
        self.sign = inner.sign
        self.verify_untrusted = inner.verify_untrusted

    def ecdh_key_pair(self) -> EcdhKeyPair:
        return self._inner.ecdh_key_pair()

    def kem_key_pair(self) -> KemKeyPair:
        return self._inner.kem_key_pair()

    def aead(self, key: Buffer) -> Aead:
        key = bytes(key)
        record = self._life.record(key)
        if record is None:
            return _OfferAead(self._inner.aead(key), key, self._life)
        return _TrafficAead(self._inner.aead(key), record, self._life)

    def kmac256(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        output = self._inner.kmac256(key, data, size, custom)
        if custom == TRAFFIC_LABEL:
            self._life.derived(output)
        return output


class _TrafficAead:
    __slots__ = ("_inner", "_life", "_record")

    def __init__(self, inner: Aead, record: KeyRecord, life: Life) -> None:
        self._inner = inner
        self._record = record
        self._life = life

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        self._life.sealed(self._record, bytes(nonce), bytes(associated_data))
        return self._inner.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        plaintext = self._inner.decrypt(nonce, data, associated_data)
        self._life.opened(self._record, bytes(nonce))
        return plaintext

    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        self._life.sealed(self._record, bytes(nonce), bytes(associated_data))
        return self._inner.encrypt_into(nonce, data, associated_data, buf)

    def decrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        size = self._inner.decrypt_into(nonce, data, associated_data, buf)
        self._life.opened(self._record, bytes(nonce))
        return size


class _OfferAead:
    __slots__ = ("_inner", "_key", "_life")

    def __init__(self, inner: Aead, key: bytes, life: Life) -> None:
        self._inner = inner
        self._key = key
        self._life = life

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        self._life.offered(self._key)
        return self._inner.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        return self._inner.decrypt(nonce, data, associated_data)

    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        self._life.offered(self._key)
        return self._inner.encrypt_into(nonce, data, associated_data, buf)

    def decrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        return self._inner.decrypt_into(nonce, data, associated_data, buf)
