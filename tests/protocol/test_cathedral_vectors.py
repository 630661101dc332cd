"""The reference's messages to, from and between cathedrals: every entry of the vectors."""

from __future__ import annotations

import pytest

from chancel.crypto import ed25519, kdf
from chancel.crypto.kdf_cathedral import federation_shroud_key
from chancel.protocol.cathedral_offers import (
    Opened,
    open_answer_untrusted,
    open_federated_untrusted,
    open_request_untrusted,
    seal_answer,
    seal_passed_on,
    seal_peer_info,
    seal_request,
)
from chancel.protocol.sealing import open_offer_untrusted, seal_offer
from chancel.protocol.shroud import HEADER_BYTES, SHROUD_BYTES, Shroud
from chancel.protocol.shroud_marks import MARK_BYTES, Marks, is_mark_of_untrusted
from chancel.wire.info import AnswerBody, InfoBody, encode_local
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferHeader, encode_data
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import FlockId, Flocks
from tests.protocol.cathedral_records import (
    SUITE,
    DrawnSuite,
    Recorded,
    address,
    answer,
    federated,
    load,
    recorded,
    request,
)

REQUESTS = recorded(
    "cathedral_info_offer", "cathedral_nat_offer", "cathedral_info_libkyrka", "liturgy_request"
)
LIBRARY = [record for record in REQUESTS if "libkyrka" in record.vector["description"]]
DAEMON = [record for record in REQUESTS if record not in LIBRARY]
ANSWERS = recorded("cathedral_info_reply", "cathedral_remembrance", "liturgy_reply", "ambry_offer")
FEDERATED = recorded("cathedral_federation")
ALL = REQUESTS + ANSWERS + FEDERATED
SHROUD = load("cathedral_shroud")
MTU = 1373


def each(records: list[Recorded]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("record", records, ids=[record.name for record in records])


def test_every_entry_has_a_test() -> None:
    assert [len(part) for part in (DAEMON, LIBRARY, ANSWERS, FEDERATED)] == [14, 4, 14, 7]
    common = {"header", "key_flock", "derived_key", "fields", "data", "extra", "packet"}
    told = {"captured_from", "captured_to", "description", "sent_to"}
    for record in ALL:
        assert record.vector.keys() - told - {"unwrap"} == common
    assert {type(federated(record.fields)) for record in FEDERATED} == {
        InfoBody,
        LiturgyBody,
        PeerInfoBody,
    }


@each(ALL)
class TestEachPacket:
    def test_the_header(self, record: Recorded) -> None:
        packet = record.raw("packet")
        assert record.layout.decode_untrusted(packet) == record.header
        assert record.layout.encode(record.header) == packet[: record.layout.header_bytes]

    def test_the_key(self, record: Recorded) -> None:
        key = kdf.offer_key(SUITE, record.kind, record.base, record.header.seed)
        assert key == record.raw("derived_key")

    def test_what_is_in_it(self, record: Recorded) -> None:
        inside = record.raw("data") + record.raw("extra")
        packet, header, layout = record.raw("packet"), record.header, record.layout
        opened = open_offer_untrusted(SUITE, record.kind, record.base, header, packet, layout)
        assert opened == inside
        assert seal_offer(SUITE, record.kind, record.base, header, inside, layout) == packet


@each(REQUESTS)
class TestRequests:
    def test_opens(self, record: Recorded) -> None:
        opened = open_request_untrusted(
            *(SUITE, record.base, record.public, record.header, record.raw("packet")),
            float(record.timestamp),
            record.layout,
        )
        assert opened.body == request(record.fields)
        assert opened.timestamp == record.timestamp
        assert opened.identity == record.identity
        assert opened.plaintext == record.raw("data") + record.raw("extra")

    def test_the_signature_is_on_all_of_the_data(self, record: Recorded) -> None:
        seed, public = record.cosk[:32], record.cosk[32:]
        assert public == record.public
        assert ed25519.sign(seed, record.raw("data")) == record.raw("extra")


@each(DAEMON)
def test_seals_what_the_reference_sent(record: Recorded) -> None:
    flocks = record.header.flocks
    if record.fields["type"] == LiturgyBody.TYPE:
        assert flocks.peer == 0
        flocks = Flocks(flocks.own, flocks.own)
    body, suite = request(record.fields), record.redrawn()
    wire = seal_request(
        *(suite, record.base, flocks, record.identity, record.timestamp, body),
        *(record.cosk, record.layout),
    )
    assert wire == record.raw("packet")


@each(LIBRARY)
def test_the_library_leaves_what_was_there_before(record: Recorded) -> None:
    data = record.raw("data")
    clean = encode_data(record.timestamp, request(record.fields))
    end = 9 + {InfoBody.TYPE: 38, LiturgyBody.TYPE: 263}[record.fields["type"]]
    assert data[:end] == clean[:end]
    assert any(data[end:])


@each(ANSWERS)
def test_answers(record: Recorded) -> None:
    body, packet = answer(record.fields), record.raw("packet")
    opened = open_answer_untrusted(SUITE, record.base, record.identity, packet)
    assert (opened.body, opened.timestamp) == (body, record.timestamp)
    suite = record.redrawn(packet[8:24], record.raw("extra"))
    assert seal_answer(suite, record.base, record.identity, record.timestamp, body) == packet


@each(recorded("cathedral_info_reply"))
def test_what_an_answer_says_of_its_receiver(record: Recorded) -> None:
    body = answer(record.fields)
    assert isinstance(body, AnswerBody)
    first = "not yet recorded" in record.vector["description"]
    assert body.local == encode_local(None if first else record.captured_to)
    relayed = body.peer == address(record.vector["captured_from"])
    assert relayed is record.vector["description"].startswith("relay")


@each(FEDERATED)
def test_between_cathedrals(record: Recorded) -> None:
    packet = record.raw("packet")
    opened = open_federated_untrusted(
        *(SUITE, record.base, record.public, record.header, packet), float(record.timestamp)
    )
    body = federated(record.fields)
    assert (opened.body, opened.timestamp) == (body, record.timestamp)
    assert encode_data(record.timestamp, body) == record.raw("data")
    if isinstance(body, PeerInfoBody):
        suite = record.redrawn(record.raw("extra"))
        flocks = record.header.flocks
        wire = seal_peer_info(suite, record.base, flocks, record.identity, record.timestamp, body)
    else:
        asked = record.header
        if isinstance(body, LiturgyBody):
            asked = OfferHeader(asked.spi, Flocks(asked.flocks.own, FlockId(0)), bytes(64))
        request_ = Opened(asked, record.timestamp, body, opened.plaintext)
        wire = seal_passed_on(record.redrawn(), record.base, request_)
    assert wire == packet


def test_the_file_of_a_remembrance() -> None:
    record = load("cathedral_remembrance")
    wrote = record["file_written_from"].removeprefix("the list announced by ")
    [body] = [
        answer(vector["fields"]) for vector in record["vectors"] if vector["captured_from"] == wrote
    ]
    assert isinstance(body, RemembranceBody)
    file = bytes.fromhex(record["file_hex"])
    assert body.encode_table() == file
    assert RemembranceBody.decode_table_untrusted(file) == body


@pytest.mark.parametrize("vector", SHROUD["client_to_cathedral"], ids=range(3))
def test_the_shroud_of_a_client(vector: dict[str, str]) -> None:
    own, peer = int(vector["flock_src"], 16), int(vector["flock_dst"], 16)
    flocks = Flocks(FlockId(own), FlockId(peer))
    key = kdf.cathedral_shroud_key(SUITE, bytes.fromhex(SHROUD["cathedral_secret"]), flocks)
    assert key.hex() == vector["shroud_key"]
    base_identity = kdf.shroud_base_identity(SUITE, flocks, int(vector["cathedral_id"], 16))
    assert base_identity.hex() == vector["base_identity"]

    wire, inner = bytes.fromhex(vector["wire"]), bytes.fromhex(vector["inner"])
    assert wire[:MARK_BYTES].hex() == vector["identity"] + vector["seed_id"]
    assert is_mark_of_untrusted(SUITE, base_identity, wire)
    assert Shroud(key, SUITE).unwrap(wire) == inner
    assert len(inner) == int(vector["unshrouded_len"])

    marks = Marks(DrawnSuite(bytes.fromhex(vector["seed_id"])), base_identity)
    assert _wrapped_again(key, wire, inner, marks.current(0.0)) == wire


def test_the_shroud_between_cathedrals() -> None:
    vector = SHROUD["inter_cathedral"]
    key = federation_shroud_key(SUITE, bytes.fromhex(SHROUD["sync_secret"]))
    assert key.hex() == vector["shroud_key"]
    wire, inner = bytes.fromhex(vector["wire"]), bytes.fromhex(vector["inner"])
    assert Shroud(key, SUITE).unwrap(wire) == inner
    assert _wrapped_again(key, wire, inner, b"") == wire


def _wrapped_again(key: bytes, wire: bytes, inner: bytes, mark: bytes) -> bytes:
    growth = len(wire) - SHROUD_BYTES - len(inner)
    drawn = wire[len(mark) : HEADER_BYTES] + growth.to_bytes(4, "big")
    return Shroud(key, DrawnSuite(drawn)).wrap(inner, MTU, mark)
