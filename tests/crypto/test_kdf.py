"""Key derivation: every entry of the reference's vectors (protocol sections 5 and 12.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chancel.crypto import kdf
from chancel.crypto.kdf import OfferKind, Purpose, TrafficInputs
from chancel.crypto.system import SystemSuite, X25519KeyPair
from chancel.errors import LocalProtocolError
from chancel.wire.types import NO_FLOCKS, FlockId, Flocks

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kdf.json").read_text())
SUITE = SystemSuite()


def raw(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


def flocks(vector: dict[str, Any]) -> Flocks:
    return Flocks(FlockId(int(vector["flock_src"], 16)), FlockId(int(vector["flock_dst"], 16)))


def base(vector: dict[str, Any], purpose: str) -> bytes:
    return kdf.base_key(SUITE, Purpose[purpose.upper()], raw(vector, "secret"), flocks(vector))


@pytest.mark.parametrize("vector", VECTORS["base_key"])
def test_base_keys(vector: dict[str, Any]) -> None:
    assert Purpose[vector["purpose"].upper()].value.decode() == vector["label"]
    assert base(vector, vector["purpose"]).hex() == vector["base_key"]


@pytest.mark.parametrize("vector", VECTORS["offer_key"])
def test_offer_keys(vector: dict[str, Any]) -> None:
    kind = OfferKind(vector["label"].encode())
    key = kdf.offer_key(SUITE, kind, base(vector, vector["base_purpose"]), raw(vector, "seed"))
    assert key.hex() == vector["offer_key"]


@pytest.mark.parametrize("vector", VECTORS["traffic_key"])
def test_traffic_keys(vector: dict[str, Any]) -> None:
    private = X25519PrivateKey.from_private_bytes(raw(vector, "x25519_private"))
    ecdh_secret = X25519KeyPair(private).exchange(raw(vector, "x25519_peer_public"))
    assert ecdh_secret.hex() == vector["ecdh_ss"]
    inputs = TrafficInputs(
        ecdh_secret=ecdh_secret,
        kem_secret=raw(vector, "kem_ss"),
        publics=(raw(vector, "pub1"), raw(vector, "pub2")),
        randoms=(raw(vector, "random1"), raw(vector, "random2")),
    )
    key = kdf.traffic_key(SUITE, base(vector, vector["base_purpose"]), inputs)
    assert key.hex() == vector["traffic_key"]


@pytest.mark.parametrize("vector", VECTORS["shroud_key"])
def test_shroud_keys(vector: dict[str, Any]) -> None:
    derive = {"peer": kdf.peer_shroud_key, "cathedral": kdf.cathedral_shroud_key}[vector["which"]]
    assert derive(SUITE, raw(vector, "secret"), flocks(vector)).hex() == vector["shroud_key"]


@pytest.mark.parametrize("vector", VECTORS["shroud_identity"])
def test_shroud_identities(vector: dict[str, Any]) -> None:
    identity = kdf.shroud_base_identity(SUITE, flocks(vector), int(vector["cathedral_id"], 16))
    assert identity.hex() == vector["base_identity"]
    assert kdf.shroud_identity(SUITE, identity, raw(vector, "seed_id")).hex() == vector["identity"]


def test_every_vector_has_a_test() -> None:
    covered = {"base_key", "offer_key", "traffic_key", "shroud_key", "shroud_identity"}
    assert VECTORS.keys() - {"comment"} == covered


def test_both_peers_derive_one_key() -> None:
    ours = Flocks(FlockId(0x8000_0000_0000_0001), FlockId(2))
    theirs = Flocks(ours.peer, ours.own)
    keys = [kdf.base_key(SUITE, Purpose.PEER_OFFER, bytes(32), pair) for pair in (ours, theirs)]
    assert keys[0] == keys[1]


def test_domains_are_the_lowest_byte() -> None:
    pair = Flocks(FlockId(0xCAFEBABE_00000102), FlockId(0xFF))
    assert kdf.without_domains(pair) == (0xCAFEBABE_00000100, 0)


def test_an_input_of_the_wrong_size_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="63 bytes, not 64"):
        kdf.offer_key(SUITE, OfferKind.EXCHANGE, bytes(32), bytes(63))


def test_secrets_are_taken_from_any_buffer() -> None:
    secret = bytes(range(32))
    keys = {
        kdf.base_key(SUITE, Purpose.PEER_OFFER, buffer, NO_FLOCKS)
        for buffer in (secret, bytearray(secret), memoryview(secret), memoryview(bytearray(secret)))
    }
    assert len(keys) == 1
