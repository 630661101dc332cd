"""The stand-in primitives agree, and disagree, exactly where the real ones do."""

from __future__ import annotations

import random

import pytest
from cryptography.exceptions import InvalidTag

from chancel.crypto import suite as sizes
from chancel.errors import RemoteProtocolError
from chancel.sim.suite import FastSuite
from chancel.wire.drop import Drop


@pytest.fixture
def suite() -> FastSuite:
    return FastSuite(random.Random(1))


def test_two_sides_agree_and_a_third_does_not(suite: FastSuite) -> None:
    a, b, c = (suite.ecdh_key_pair() for _ in range(3))
    assert len(a.public) == sizes.ECDH_BYTES
    assert a.exchange(b.public) == b.exchange(a.public) != c.exchange(a.public)


def test_a_zero_key_is_weak(suite: FastSuite) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        suite.ecdh_key_pair().exchange(bytes(32))
    assert refused.value.reason is Drop.OFFER_WEAK_KEY


def test_encapsulation_agrees_unless_a_fragment_differs(suite: FastSuite) -> None:
    pair, other = suite.kem_key_pair(), suite.kem_key_pair()
    ciphertext, shared = suite.kem_encapsulate(pair.public)
    assert len(pair.public) == sizes.KEM_PUBLIC_BYTES
    assert len(ciphertext) == sizes.KEM_CIPHERTEXT_BYTES
    assert pair.decapsulate(ciphertext) == shared != other.decapsulate(ciphertext)
    mixed = ciphertext[:392] + bytes(392) + ciphertext[784:]
    assert pair.decapsulate(mixed) != shared


def test_a_cipher_notices_every_kind_of_damage(suite: FastSuite) -> None:
    nonce, header = bytes(12), bytes(32)
    sealed = suite.aead(bytes(32)).encrypt(nonce, b"payload", header)
    assert suite.aead(bytes(32)).decrypt(nonce, sealed, header) == b"payload"
    for key, data, aad in (
        (b"\x01" * 32, sealed, header),
        (bytes(32), bytes([sealed[0] ^ 1]) + sealed[1:], header),
        (bytes(32), sealed, b"\x01" * 32),
    ):
        with pytest.raises(InvalidTag):
            suite.aead(key).decrypt(nonce, data, aad)


def test_derivation_separates_its_inputs(suite: FastSuite) -> None:
    outputs = {
        suite.kmac256(b"key", b"data", 32, b"label"),
        suite.kmac256(b"keyd", b"ata", 32, b"label"),
        suite.kmac256(b"key", b"data", 32, b"lable"),
        suite.kmac256(b"key", b"data", 64, b"label")[:32],
    }
    assert len(outputs) == 4


def test_equal_seeds_give_equal_suites() -> None:
    one, two = (FastSuite(random.Random(9)) for _ in range(2))
    assert one.random(8) == two.random(8)
    assert one.kem_key_pair().public == two.kem_key_pair().public
