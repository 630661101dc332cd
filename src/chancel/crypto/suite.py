"""The primitives and the randomness, as one injected object.

Everything above asks a :class:`Suite` for random bytes, key pairs and ciphers, so a test or a
simulation is deterministic and a program uses the system's own (``chancel.crypto.system``).
Nothing here is a primitive of our own: implementations compose libraries.
"""

from __future__ import annotations

from typing import Protocol

from chancel.wire.types import Buffer

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
KEM_PUBLIC_BYTES = 1568
KEM_CIPHERTEXT_BYTES = 1568
KEM_SHARED_BYTES = 32
ECDH_BYTES = 32


class Aead(Protocol):
    """AES-256-GCM under one key (NIST SP 800-38D): 12-byte nonce, 16-byte tag after the text."""

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        """Return ciphertext followed by the tag."""
        ...

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer) -> bytes:
        """Return the plaintext; raises ``cryptography.exceptions.InvalidTag``."""
        ...

    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        """Write ciphertext and tag (``len(data) + 16`` bytes, exactly) into ``buf``."""
        ...

    def decrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer, buf: Buffer
    ) -> int:
        """Write the plaintext (``len(data) - 16`` bytes, exactly) into ``buf``."""
        ...


class EcdhKeyPair(Protocol):
    """An X25519 key pair (RFC 7748)."""

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        ...

    def exchange(self, peer_public: Buffer) -> bytes:
        """Return the 32-byte shared secret.

        Raises :class:`chancel.errors.RemoteProtocolError` (``OFFER_WEAK_KEY``) where the peer's
        key, or the result, is all zero.
        """
        ...


class KemKeyPair(Protocol):
    """An ML-KEM-1024 key pair (FIPS 203)."""

    @property
    def public(self) -> bytes:
        """The 1568-byte encapsulation key."""
        ...

    def decapsulate(self, ciphertext: Buffer) -> bytes:
        """Return the 32-byte shared secret of a 1568-byte ciphertext (implicit rejection)."""
        ...


class KeyedKmac256(Protocol):
    """KMAC256 under one key and customization, for many inputs. Not for two threads at once."""

    def __call__(self, data: Buffer, size: int) -> bytes:
        """``size`` bytes of output, as of :meth:`Suite.kmac256`."""
        ...

    def rows(self, data: Buffer, count: int, size: int) -> bytearray:
        """The outputs for ``count`` inputs of equal size, one behind the other as those are."""
        ...


class Suite(Protocol):
    """Randomness and primitives for one program, test or simulation."""

    def random(self, size: int) -> bytes:
        """Return ``size`` random bytes."""
        ...

    def ecdh_key_pair(self) -> EcdhKeyPair:
        """Make a fresh X25519 key pair."""
        ...

    def kem_key_pair(self) -> KemKeyPair:
        """Make a fresh ML-KEM-1024 key pair."""
        ...

    def kem_encapsulate(self, peer_public: Buffer) -> tuple[bytes, bytes]:
        """Return (ciphertext, shared secret) for a 1568-byte encapsulation key.

        Raises :class:`chancel.errors.RemoteProtocolError` (``OFFER_WEAK_KEY``) for a key that
        fails the modulus check of FIPS 203 section 7.2.
        """
        ...

    def aead(self, key: Buffer) -> Aead:
        """Return the cipher for a 32-byte key."""
        ...

    def kmac256(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        """KMAC256 of NIST SP 800-185, fixed-length form, ``size`` bytes of output."""
        ...

    def keyed_kmac256(self, key: Buffer, custom: bytes) -> KeyedKmac256:
        """The same for many inputs under one key, which is taken in once."""
        ...

    def sign(self, seed: Buffer, message: Buffer) -> bytes:
        """The 64-byte Ed25519 signature (RFC 8032) under a private seed of 32 bytes."""
        ...

    def verify_untrusted(self, public: bytes, message: Buffer, signature: Buffer) -> bool:
        """Whether ``signature`` is ``public``'s on ``message``; ``False`` for a malformed key."""
        ...
