"""The stand-in primitives agree, and disagree, exactly where the real ones do."""

from __future__ import annotations

import random

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto import suite as sizes
from chancel.crypto.ed25519 import SIGNATURE_BYTES
from chancel.errors import RemoteProtocolError
from chancel.sim.network_suite import QuickSuite
from chancel.sim.suite import FastSuite
from chancel.sim.used_keys import MARK_BYTES
from chancel.wire.drop import Drop


@pytest.fixture(params=[FastSuite, QuickSuite])
def suite(request: pytest.FixtureRequest) -> FastSuite:
    made: FastSuite = request.param(random.Random(1))
    return made


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


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 32, 64, 1472])
def test_an_output_has_its_size_and_is_the_same_again(suite: FastSuite, size: int) -> None:
    output = suite.kmac256(bytes(32), b"data", size, b"label")
    assert len(output) == size
    assert output == suite.kmac256(bytearray(32), memoryview(b"data"), size, b"label")
    assert output == suite.keyed_kmac256(bytes(32), b"label")(b"data", size)


def test_keys_differ_in_the_bytes_that_a_ledger_keeps_of_them(suite: FastSuite) -> None:
    keys = [suite.kmac256(bytes(32), bytes([n]), 32, b"label") for n in range(256)]
    assert len({key[:MARK_BYTES] for key in keys}) == 256


def test_a_signature_is_one_key_s_on_one_message(suite: FastSuite) -> None:
    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    signature = suite.sign(memoryview(seed), b"message")
    assert len(signature) == SIGNATURE_BYTES
    assert suite.verify_untrusted(public, memoryview(b"message"), memoryview(signature))
    assert not suite.verify_untrusted(public, b"massage", signature)
    assert not suite.verify_untrusted(bytes(32), b"message", signature)
    for at in range(SIGNATURE_BYTES):
        damaged = bytearray(signature)
        damaged[at] ^= 1
        assert not suite.verify_untrusted(public, b"message", damaged)


def test_equal_seeds_give_equal_suites() -> None:
    one, two = (FastSuite(random.Random(9)) for _ in range(2))
    assert one.random(8) == two.random(8)
    assert one.kem_key_pair().public == two.kem_key_pair().public
