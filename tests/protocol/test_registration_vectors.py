"""A registration says what the reference says, byte for byte, and understands what it hears."""

from __future__ import annotations

import dataclasses

import pytest

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.suite import Suite
from chancel.protocol.behaviour import CHANCEL
from chancel.protocol.cathedral_offers import seal_answer
from chancel.protocol.registration import Registration
from chancel.protocol.registration_types import (
    AdoptSecret,
    PeerAnnounced,
    Registrant,
    StoreRemembrance,
)
from chancel.vault.secret import Secret
from chancel.wire.ambry import Header, expiry
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import NAT
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId
from tests.protocol.cathedral_records import (
    SUITE,
    Recorded,
    address,
    answer,
    load,
    recorded,
    request,
)

HERE = Address("192.0.2.1", 4500)
NAT_PORT = 4501
KEK = bytes(32)
NOW = 50.0

ALL_ASKED = recorded("cathedral_info_offer", "cathedral_nat_offer")


def info(record: Recorded) -> InfoBody:
    body = request(record.fields)
    assert isinstance(body, InfoBody)
    return body


ASKED = [each for each in ALL_ASKED if not (info(each).skips_ambry and info(each).generation)]
"""Without that with a generation and no KEK: no registration has both."""

ANSWERED = recorded("cathedral_info_reply")
REMEMBERED = recorded("cathedral_remembrance")
AMBRIES = recorded("ambry_offer")


LIKE_THEIRS = dataclasses.replace(CHANCEL, proves_paths=False)
"""Without the one flag that is ours alone."""


def registration(
    record: Recorded,
    suite: Suite = SUITE,
    *,
    at: Address = HERE,
    like: InfoBody | None = None,
    kek: bytes = KEK,
) -> Registration:
    """The client of a record, configured so that it says the like, at the time of the record."""
    like = like or InfoBody(TunnelId(0xCAFE), InstanceId(1), wants_remembrance=True)
    own = FlockId(int(record.vector["key_flock"], 16))
    client = Registrant(
        record.identity,
        record.header.flocks if record in ALL_ASKED else Flocks(own, own),
        like.tunnel,
        lambda: Secret(record.cathedral_secret),
        lambda: Secret(record.cosk),
        kek=None if like.skips_ambry else lambda: Secret(kek),
        nat_port=NAT_PORT,
        remember=like.wants_remembrance,
    )
    wall = float(record.timestamp)
    return Registration(
        *(suite, client, [at], NOW, wall), instance=like.instance, behaviour=LIKE_THEIRS
    )


def adopt(made: Registration, record: Recorded, generation: int) -> None:
    """Let it have an ambry of this generation."""
    header = Header(expiry(record.timestamp, 30), generation, bytes(64))
    flocks, tunnel = record.header.flocks, info(record).tunnel
    wrapped = Wrapping(SUITE, header, flocks).wrap(
        derived_kek(SUITE, KEK, flocks), tunnel, bytes(32)
    )
    body = AmbryBody(tunnel, header, wrapped)
    offer = seal_answer(SUITE, record.base, record.identity, record.timestamp, body)
    made.receive(offer, HERE, NOW, record.timestamp)
    made.adopted(generation, NOW)


def test_only_one_cannot_be_said() -> None:
    assert len(ALL_ASKED) == len(ASKED) + 1 == 12


@pytest.mark.parametrize("record", ASKED, ids=[record.name for record in ASKED])
def test_what_it_says(record: Recorded) -> None:
    like = info(record)
    made = registration(record, record.redrawn(), like=like)
    if like.generation:
        adopt(made, record, like.generation)
    made.report_keys(like.receiving, like.pending, NOW)
    made.wake(NOW, float(record.timestamp))
    (first, to), (second, nat) = made.datagrams()
    assert (to, nat) == (HERE, Address(HERE.host, NAT_PORT))
    assert (second if record.layout is NAT else first) == record.raw("packet")
    assert not made.drops


@pytest.mark.parametrize("record", ANSWERED, ids=[record.name for record in ANSWERED])
def test_where_the_peer_is(record: Recorded) -> None:
    source = address(record.vector["captured_from"])
    made = registration(record, at=source)
    made.commands()
    made.receive(record.raw("packet"), source, NOW, record.timestamp)
    body = answer(record.fields)
    assert isinstance(body, AnswerBody)
    assert body.peer is not None
    assert made.commands() == [PeerAnnounced(body.peer, NOW, body.same_external_ipv4)]


@pytest.mark.parametrize("record", REMEMBERED, ids=[record.name for record in REMEMBERED])
def test_other_cathedrals(record: Recorded) -> None:
    source = address(record.vector["captured_from"])
    made = registration(record, at=source)
    made.commands()
    made.receive(record.raw("packet"), source, NOW, record.timestamp)
    body = answer(record.fields)
    assert isinstance(body, RemembranceBody)
    (command,) = made.commands()
    assert isinstance(command, StoreRemembrance)
    assert command == StoreRemembrance(body.cathedrals, body.encode_table())
    assert command.data == record.raw("data")[9 : 9 + 192]


def test_the_file_of_the_reference_is_one_of_ours() -> None:
    file = bytes.fromhex(load("cathedral_remembrance")["file_hex"])
    assert file in [record.raw("data")[9 : 9 + 192] for record in REMEMBERED]


@pytest.mark.parametrize("record", AMBRIES, ids=[record.name for record in AMBRIES])
def test_an_ambry(record: Recorded) -> None:
    body = answer(record.fields)
    assert isinstance(body, AmbryBody)
    like = InfoBody(body.tunnel, InstanceId(1))
    unwrap = record.vector["unwrap"]
    made = registration(record, like=like, kek=bytes.fromhex(unwrap["kek"]))
    made.commands()
    made.receive(record.raw("packet"), HERE, NOW, record.timestamp)
    (command,) = made.commands()
    assert isinstance(command, AdoptSecret)
    assert command.generation == body.header.generation
    with command.secret.reveal() as secret:
        assert secret.hex() == unwrap["unwrapped_secret"]
