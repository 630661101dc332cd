"""Ed25519 signatures (RFC 8032), the key pair given by its 32-byte private seed."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer

SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def sign(seed: Buffer, message: Buffer) -> bytes:
    """Return the 64-byte signature; ``LocalProtocolError`` unless the seed has 32 bytes."""
    if len(seed) != SEED_BYTES:
        raise LocalProtocolError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verify_untrusted(public: bytes, message: Buffer, signature: Buffer) -> bool:
    """Whether ``signature`` is ``public``'s on ``message``; ``False`` for a malformed key too."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
