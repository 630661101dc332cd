"""Offers of cathedrals: what is sealed is opened, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.kdf import OfferKind
from chancel.crypto.kdf_cathedral import client_offer_base, federation_offer_base
from chancel.errors import LocalProtocolError, RemoteProtocolError
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
from chancel.protocol.sealing import seal_offer
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT, Answer, Federated, Request
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import (
    DATA_BYTES,
    OFFER_BYTES,
    ExchangeBody,
    OfferHeader,
    OfferLayout,
    OfferState,
    encode_data,
)
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Salt, Spi
from tests.protocol.cathedral_records import SUITE, recorded

CLIENT = recorded("cathedral_info_offer")[0]
COSK, PUBLIC = CLIENT.cosk, CLIENT.public
SECRET, SYNC = CLIENT.cathedral_secret, bytes(range(32))
IDENTITY = CathedralId(0xBADF00D)
FLOCKS = Flocks(FlockId(0xAAAAAA01), FlockId(0xBBBBBB01))
BASE = client_offer_base(SUITE, SECRET, FLOCKS.own)
SYNC_BASE = federation_offer_base(SUITE, SYNC, FLOCKS.own)
MADE_AT = 1_795_306_788
INFO = InfoBody(TunnelId(0xCAFE), InstanceId(7), 5, Spi(1), None, wants_remembrance=True)
LITURGY = LiturgyBody(0xCA, 0xDEAD, hidden=True)
PEER_INFO = PeerInfoBody(TunnelId(0xCAFE), Address("192.0.2.1", 9), reachable=True)
ANSWER = AnswerBody(Address("192.0.2.1", 9))
EXCHANGE = ExchangeBody(
    InstanceId(1), Spi(2), Salt(bytes(4)), OfferState.PK, 0, bytes(32), bytes(392)
)


def ask(body: Request = INFO, layout: OfferLayout = CATHEDRAL, cosk: bytes = COSK) -> bytes:
    return seal_request(SUITE, BASE, FLOCKS, IDENTITY, MADE_AT, body, cosk, layout)


def hear_request(
    datagram: bytes, wall: float = MADE_AT, layout: OfferLayout = CATHEDRAL, public: bytes = PUBLIC
) -> Opened[Request]:
    header = layout.decode_untrusted(datagram)
    return open_request_untrusted(SUITE, BASE, public, header, datagram, wall, layout)


def reply(body: Answer = ANSWER) -> bytes:
    return seal_answer(SUITE, BASE, IDENTITY, MADE_AT, body)


def hear_answer(datagram: bytes) -> Opened[Answer]:
    return open_answer_untrusted(SUITE, BASE, IDENTITY, datagram)


def pass_on() -> bytes:
    return seal_passed_on(SUITE, SYNC_BASE, hear_request(ask()))


def tell() -> bytes:
    return seal_peer_info(SUITE, SYNC_BASE, FLOCKS, IDENTITY, MADE_AT, PEER_INFO)


def hear_federated(
    datagram: bytes, wall: float = MADE_AT, public: bytes = PUBLIC
) -> Opened[Federated]:
    header = FEDERATION.decode_untrusted(datagram)
    return open_federated_untrusted(SUITE, SYNC_BASE, public, header, datagram, wall)


Hear = Callable[[bytes], Opened[Request] | Opened[Answer] | Opened[Federated]]
WAYS: dict[str, tuple[Callable[[], bytes], Hear]] = {
    "request": (ask, hear_request),
    "answer": (reply, hear_answer),
    "passed on": (pass_on, hear_federated),
    "peer info": (tell, hear_federated),
}
ways = pytest.mark.parametrize(("say", "hear"), WAYS.values(), ids=WAYS)


def refusal(hear: Hear, datagram: bytes) -> Drop:
    with pytest.raises(RemoteProtocolError) as raised:
        hear(datagram)
    return raised.value.reason


def sealed_again(plaintext: bytes) -> tuple[Drop, Drop]:
    """Why a client's words, changed, are refused under its own secret and between cathedrals."""
    header = OfferHeader(Spi(IDENTITY), FLOCKS, SUITE.random(64))
    own = seal_offer(SUITE, OfferKind.CATHEDRAL, BASE, header, plaintext, CATHEDRAL)
    passed = seal_offer(SUITE, OfferKind.FEDERATION, SYNC_BASE, header, plaintext, FEDERATION)
    return refusal(hear_request, own), refusal(hear_federated, passed)


class TestEveryWay:
    @ways
    def test_padding_is_ignored(self, say: Callable[[], bytes], hear: Hear) -> None:
        wire = say()
        assert len(wire) == OFFER_BYTES
        assert hear(wire + bytes(800)) == hear(wire)

    @ways
    def test_two_packets_have_nothing_in_common(self, say: Callable[[], bytes], hear: Hear) -> None:
        first, second = say(), say()
        assert first[28:92] != second[28:92]
        assert first[92:] != second[92:]
        assert hear(first).body == hear(second).body

    @ways
    @given(size=st.integers(0, OFFER_BYTES - 1))
    def test_a_cut_one_is_refused(self, say: Callable[[], bytes], hear: Hear, size: int) -> None:
        assert refusal(hear, say()[:size]) is Drop.OFFER_TOO_SHORT

    @ways
    @given(bit=st.integers(0, 8 * OFFER_BYTES - 1))
    def test_a_changed_bit_is_noticed(self, say: Callable[[], bytes], hear: Hear, bit: int) -> None:
        wire = bytearray(say())
        wire[bit // 8] ^= 1 << bit % 8
        expected = Drop.OFFER_TYPE if bit < 64 else Drop.OFFER_BAD_TAG
        assert refusal(hear, bytes(wire)) is expected

    @ways
    @given(datagram=st.binary(max_size=700))
    def test_a_stranger_s_datagram_is_refused(
        self, say: Callable[[], bytes], hear: Hear, datagram: bytes
    ) -> None:
        assert refusal(hear, datagram).startswith("offer-")
        forged = say()[:92] + datagram.ljust(531, b"\0")
        assert refusal(hear, forged) is Drop.OFFER_BAD_TAG


class TestRequests:
    @given(st.sampled_from([INFO, LITURGY]), st.sampled_from([CATHEDRAL, NAT]))
    def test_opens(self, body: Request, layout: OfferLayout) -> None:
        opened = hear_request(ask(body, layout), layout=layout)
        assert (opened.body, opened.timestamp, opened.identity) == (body, MADE_AT, IDENTITY)
        shown = FLOCKS if body == INFO else Flocks(FLOCKS.own, FlockId(0))
        assert opened.header.flocks == shown

    def test_a_cosk_is_taken_from_any_buffer_and_may_be_followed_by_more(self) -> None:
        for cosk in (memoryview(bytearray(COSK)), COSK + b"\n"):
            wire = seal_request(SUITE, BASE, FLOCKS, IDENTITY, MADE_AT, INFO, cosk)
            assert hear_request(wire).body == INFO

    def test_a_short_cosk_is_our_mistake(self) -> None:
        with pytest.raises(LocalProtocolError, match="64 bytes, not 63"):
            ask(cosk=COSK[:63])

    def test_one_magic_is_not_the_other(self) -> None:
        assert refusal(lambda wire: hear_request(wire, layout=NAT), ask()) is Drop.OFFER_TYPE
        wire = ask()
        renamed = NAT.magic + wire[8:]
        assert refusal(lambda wire: hear_request(wire, layout=NAT), renamed) is Drop.OFFER_BAD_TAG

    def test_another_s_signature_is_refused(self) -> None:
        other = recorded("liturgy_reply")[1]
        assert other.public != PUBLIC
        assert refusal(hear_request, ask(cosk=other.cosk)) is Drop.OFFER_SIGNATURE
        assert hear_request(ask(cosk=other.cosk), public=other.public).body == INFO

    @given(at=st.integers(1, DATA_BYTES + 63), flip=st.integers(1, 255))
    def test_who_knows_the_secret_still_cant_sign(self, at: int, flip: int) -> None:
        """A cathedral, or a thief of its keys, changes what a client said."""
        reason = Drop.OFFER_SIGNATURE
        changed = bytearray(hear_request(ask()).plaintext)
        changed[at] ^= flip
        made_at = int.from_bytes(changed[1:9], "big")
        if abs(made_at - MADE_AT) > 10:
            reason = Drop.OFFER_TIME
        assert sealed_again(bytes(changed)) == (reason, reason)

    def test_an_info_s_signature_is_none_of_a_liturgy_s(self) -> None:
        info = hear_request(ask()).plaintext
        assert info[0] == INFO.TYPE
        reason = Drop.OFFER_SIGNATURE
        assert sealed_again(bytes((LITURGY.TYPE,)) + info[1:]) == (reason, reason)

    def test_another_client_s_key_opens_nothing(self) -> None:
        wire = ask()
        header = CATHEDRAL.decode_untrusted(wire)
        for flock in (FlockId(0xAAAAAA02), FLOCKS.peer):
            base = client_offer_base(SUITE, SECRET, flock)
            with pytest.raises(RemoteProtocolError, match=Drop.OFFER_BAD_TAG):
                open_request_untrusted(SUITE, base, PUBLIC, header, wire, MADE_AT)


@pytest.mark.parametrize("say", [ask, pass_on, tell])
def test_time(say: Callable[[], bytes]) -> None:
    wire = say()
    hear: Callable[[bytes, float], object] = hear_request if say is ask else hear_federated
    for wall in (MADE_AT - 10.0, MADE_AT + 10.9):
        assert hear(wire, wall)
    for wall in (MADE_AT - 10.1, MADE_AT + 11.0):
        with pytest.raises(RemoteProtocolError) as raised:
            hear(wire, wall)
        assert raised.value.reason is Drop.OFFER_TIME


class TestAnswers:
    @pytest.mark.parametrize("body", [ANSWER, LITURGY, RemembranceBody(())])
    def test_opens(self, body: Answer) -> None:
        opened = hear_answer(reply(body))
        assert (opened.body, opened.timestamp) == (body, MADE_AT)
        assert FLOCKS.own not in opened.header.flocks

    def test_for_another_client(self) -> None:
        wire = seal_answer(SUITE, BASE, CathedralId(1), MADE_AT, ANSWER)
        assert refusal(hear_answer, wire) is Drop.OFFER_IDENTITY

    def test_a_peer_info_is_no_answer_and_an_answer_is_not_federated(self) -> None:
        header = OfferHeader(Spi(IDENTITY), FLOCKS, bytes(64))
        federated = encode_data(MADE_AT, PEER_INFO) + bytes(64)
        wire = seal_offer(SUITE, OfferKind.CATHEDRAL, BASE, header, federated, CATHEDRAL)
        assert refusal(hear_answer, wire) is Drop.OFFER_TYPE
        assert refusal(hear_request, wire) is Drop.OFFER_TYPE
        for body in (RemembranceBody(()), EXCHANGE):
            said = encode_data(MADE_AT, body) + bytes(64)
            wire = seal_offer(SUITE, OfferKind.FEDERATION, SYNC_BASE, header, said, FEDERATION)
            assert refusal(hear_federated, wire) is Drop.OFFER_TYPE

    def test_an_answer_is_no_request(self) -> None:
        assert refusal(hear_request, reply()) is Drop.OFFER_SIGNATURE


class TestFederated:
    @pytest.mark.parametrize("body", [INFO, LITURGY])
    def test_a_request_is_passed_on_as_it_was_signed(self, body: Request) -> None:
        request = hear_request(ask(body))
        littered = request.plaintext[: DATA_BYTES - 1] + b"\x5a" + request.plaintext[DATA_BYTES:]
        for plaintext in (request.plaintext, littered):
            asked = dataclasses.replace(request, plaintext=plaintext)
            wire = seal_passed_on(SUITE, SYNC_BASE, asked)
            if plaintext is littered:
                assert refusal(hear_federated, wire) is Drop.OFFER_SIGNATURE
                continue
            passed = hear_federated(wire)
            assert passed.plaintext == request.plaintext
            assert (passed.body, passed.identity) == (body, IDENTITY)
            own, peer = FLOCKS
            assert passed.header.flocks == ((own, peer) if body == INFO else (own, own))
            assert passed.header.seed != request.header.seed

    def test_a_peer_info_needs_no_signature(self) -> None:
        opened = hear_federated(tell(), public=bytes(32))
        assert (opened.body, opened.header.flocks) == (PEER_INFO, FLOCKS)

    def test_a_passed_on_request_needs_one(self) -> None:
        with pytest.raises(RemoteProtocolError, match=Drop.OFFER_SIGNATURE):
            hear_federated(pass_on(), public=bytes(32))

    def test_keys_of_clients_and_of_cathedrals_differ_even_for_one_secret(self) -> None:
        suite = SeededSuite(b"keys")
        secret = suite.random(32)
        bases = {
            client_offer_base(suite, secret, FLOCKS.own),
            client_offer_base(suite, secret, FLOCKS.peer),
            federation_offer_base(suite, secret, FLOCKS.own),
        }
        assert len(bases) == 3


def test_nothing_secret_is_shown() -> None:
    opened = hear_request(ask())
    assert opened.plaintext.hex() not in repr(opened)
    assert repr(opened.plaintext) not in repr(opened)
