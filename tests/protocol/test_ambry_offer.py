"""Opening ambries: the reference's two ends of one tunnel, and what can be wrong with an offer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.kdf_ambry import derived_kek
from chancel.errors import RemoteProtocolError
from chancel.protocol.ambry import open_ambry_untrusted
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.drop import Drop
from chancel.wire.types import FlockId, Flocks
from tests.protocol.cathedral_records import SUITE, Recorded, answer, recorded

ENDS = recorded("ambry_offer")
DOMAIN = 0x42


def flocks(record: Recorded) -> Flocks:
    flock = FlockId(int(record.vector["key_flock"], 16) | DOMAIN)
    return Flocks(flock, flock)


def body(record: Recorded) -> AmbryBody:
    said = answer(record.fields)
    assert isinstance(said, AmbryBody)
    return said


def opened(
    record: Recorded,
    ambry: AmbryBody,
    tunnel: TunnelId | None = None,
    kek: bytes | None = None,
    wall: float | None = None,
) -> bytes:
    secret = open_ambry_untrusted(
        SUITE,
        kek or bytes.fromhex(record.vector["unwrap"]["kek"]),
        flocks(record),
        tunnel or ambry.tunnel,
        ambry,
        float(record.timestamp) if wall is None else wall,
    )
    with secret.reveal() as revealed:
        return bytes(revealed)


def refusal(attempt: Callable[[], object]) -> Drop:
    with pytest.raises(RemoteProtocolError) as raised:
        attempt()
    return raised.value.reason


@pytest.mark.parametrize("record", ENDS, ids=[record.name for record in ENDS])
def test_an_end_of_a_tunnel(record: Recorded) -> None:
    unwrap = record.vector["unwrap"]
    keys = {"kek", "base_key", "wrapping_key", "aad", "unwrapped_secret"}
    assert unwrap.keys() == keys
    kek, base = bytes.fromhex(unwrap["kek"]), bytes.fromhex(unwrap["base_key"])
    assert derived_kek(SUITE, kek, flocks(record)) == base
    assert opened(record, body(record)).hex() == unwrap["unwrapped_secret"]

    aead = SUITE.aead(bytes.fromhex(unwrap["wrapping_key"]))
    aad, nonce = bytes.fromhex(unwrap["aad"]), bytes(11) + b"\1"
    assert aead.decrypt(nonce, body(record).wrapped, aad) == opened(record, body(record))


def test_both_ends_get_one_secret() -> None:
    assert len({opened(record, body(record)) for record in ENDS}) == 1
    left, right = (body(record).tunnel for record in ENDS)
    assert left.to_bytes(2, "big") == right.to_bytes(2, "little")


def test_for_another_tunnel() -> None:
    left, right = ENDS
    assert refusal(lambda: opened(left, body(left), tunnel=body(right).tunnel)) is Drop.AMBRY_TUNNEL


def test_for_another_kek() -> None:
    """That of a device whose KEK was renewed: it is cut off."""
    left, right = ENDS
    kek = bytes.fromhex(right.vector["unwrap"]["kek"])
    assert refusal(lambda: opened(left, body(left), kek=kek)) is Drop.AMBRY_BAD_TAG


def test_when_it_has_expired() -> None:
    record = ENDS[0]
    until = 1_697_855_580 + record.fields["expires"] * 86_400
    assert opened(record, body(record), wall=until)
    assert refusal(lambda: opened(record, body(record), wall=until + 0.5)) is Drop.AMBRY_EXPIRED


@given(st.integers(0, 8 * 120 - 1))
def test_a_changed_bit_is_noticed(bit: int) -> None:
    record = ENDS[0]
    data = bytearray(body(record).encode())
    data[bit // 8] ^= 1 << bit % 8
    changed = AmbryBody.decode_untrusted(data, 0)
    expected = Drop.AMBRY_TUNNEL if bit < 16 else Drop.AMBRY_BAD_TAG
    assert refusal(lambda: opened(record, changed, tunnel=body(record).tunnel)) is expected


def test_another_tunnel_s_ambry_under_our_number() -> None:
    left, right = ENDS
    swapped = dataclasses.replace(body(right), tunnel=body(left).tunnel)
    assert refusal(lambda: opened(left, swapped)) is Drop.AMBRY_BAD_TAG
