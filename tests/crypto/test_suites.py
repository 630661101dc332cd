"""What every suite must do, run on each of them."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.suite import (
    KEM_CIPHERTEXT_BYTES,
    KEM_PUBLIC_BYTES,
    KEM_SHARED_BYTES,
    TAG_BYTES,
    Suite,
)
from chancel.crypto.system import SystemSuite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire.drop import Drop

NONCE = bytes(12)


@pytest.fixture(params=["system", "seeded"])
def suite(request: pytest.FixtureRequest) -> Suite:
    return SystemSuite() if request.param == "system" else SeededSuite(b"seed")


def test_random_bytes_differ(suite: Suite) -> None:
    draws = {suite.random(32) for _ in range(10)}
    assert len(draws) == 10
    assert {len(draw) for draw in draws} == {32}
    assert suite.random(0) == b""


def test_ecdh_agrees(suite: Suite) -> None:
    ours, theirs = suite.ecdh_key_pair(), suite.ecdh_key_pair()
    assert ours.public != theirs.public
    assert ours.exchange(theirs.public) == theirs.exchange(memoryview(ours.public))


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "low order"])
def test_a_weak_ecdh_key_is_refused(suite: Suite, public: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        suite.ecdh_key_pair().exchange(public)
    assert caught.value.reason is Drop.OFFER_WEAK_KEY


def test_kem_agrees(suite: Suite) -> None:
    pair = suite.kem_key_pair()
    ciphertext, shared = suite.kem_encapsulate(pair.public)
    sizes = (len(pair.public), len(ciphertext), len(shared))
    assert sizes == (KEM_PUBLIC_BYTES, KEM_CIPHERTEXT_BYTES, KEM_SHARED_BYTES)
    assert pair.decapsulate(bytearray(ciphertext)) == shared


def test_a_changed_ciphertext_yields_another_secret_and_no_error(suite: Suite) -> None:
    pair = suite.kem_key_pair()
    ciphertext, shared = suite.kem_encapsulate(bytearray(pair.public))
    changed = pair.decapsulate(bytes((ciphertext[0] ^ 1,)) + ciphertext[1:])
    assert len(changed) == KEM_SHARED_BYTES
    assert changed != shared


@pytest.mark.parametrize("public", [b"\xff" * KEM_PUBLIC_BYTES, b""], ids=["modulus", "empty"])
def test_a_malformed_kem_key_is_refused(suite: Suite, public: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        suite.kem_encapsulate(public)
    assert caught.value.reason is Drop.OFFER_WEAK_KEY


def test_a_cut_ciphertext_is_our_mistake(suite: Suite) -> None:
    with pytest.raises(LocalProtocolError, match="collect all fragments"):
        suite.kem_key_pair().decapsulate(bytes(392))


def test_aead_into_buffers_is_aead(suite: Suite) -> None:
    aead = suite.aead(bytes(32))
    sealed = bytearray(5 + TAG_BYTES)
    assert aead.encrypt_into(NONCE, b"hello", b"aad", sealed) == len(sealed)
    assert sealed == aead.encrypt(NONCE, b"hello", b"aad")
    opened = bytearray(5)
    assert aead.decrypt_into(NONCE, sealed, b"aad", memoryview(opened)) == 5
    assert opened == b"hello"
    with pytest.raises(InvalidTag):
        aead.decrypt(NONCE, bytes(sealed), b"other")


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_keys_have_32_bytes(suite: Suite, size: int) -> None:
    with pytest.raises(LocalProtocolError):
        suite.aead(bytes(size))


def test_equal_seeds_repeat_and_others_dont() -> None:
    def draw(seed: bytes) -> tuple[bytes, ...]:
        suite = SeededSuite(seed)
        return (suite.random(8), suite.ecdh_key_pair().public, suite.kem_key_pair().public)

    assert draw(b"a") == draw(b"a")
    assert all(one != other for one, other in zip(draw(b"a"), draw(b"b"), strict=True))
