"""Ed25519: a published vector and everything that isn't one."""

from __future__ import annotations

import pytest

from chancel.crypto.ed25519 import sign, verify_untrusted
from chancel.errors import LocalProtocolError

# RFC 8032 section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_the_rfcs_vector() -> None:
    assert sign(SEED, b"r") == SIGNATURE
    assert verify_untrusted(PUBLIC, b"r", SIGNATURE)


@pytest.mark.parametrize(
    ("public", "message", "signature"),
    [
        (PUBLIC, b"s", SIGNATURE),
        (PUBLIC, b"r", bytes(64)),
        (PUBLIC, b"r", SIGNATURE[:-1]),
        (PUBLIC, b"r", b""),
        (PUBLIC[:-1], b"r", SIGNATURE),
        (b"\xff" * 32, b"r", SIGNATURE),
    ],
)
def test_anything_else_is_refused(public: bytes, message: bytes, signature: bytes) -> None:
    assert not verify_untrusted(public, message, signature)


def test_a_short_seed_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        sign(SEED[:-1], b"r")
