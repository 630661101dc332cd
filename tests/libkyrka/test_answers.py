"""What a context makes of what a cathedral says."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import AnswerBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import BODY_BYTES
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks
from tests.libkyrka.cathedral import LEFT, Cathedral, Client, Member, context_of, joined
from tests.libkyrka.ends import Clock, logged
from tests.libkyrka.test_refusals import refusal
from tests.protocol.cathedral_records import Recorded, recorded

WANTED = bytes(number % 2 for number in range(255))
PEER = AnswerBody(Address("192.0.2.1", 4660))


@pytest.fixture
def member() -> Member:
    return joined(group=0xDEAD, remembrance=True)


class TestAnswers:
    def test_where_the_peer_is(self, member: Member) -> None:
        ((event, info),) = member.hear(PEER)
        assert (event, info["flags"]) == (4, 0)
        assert socket.inet_ntoa(struct.pack("=I", info["ip"])) == "192.0.2.1"
        assert socket.ntohs(info["port"]) == 4660
        ((_, info),) = member.hear(AnswerBody(Address("192.0.2.1", 9), same_external_ipv4=True))
        assert info["flags"] == 2

    @pytest.mark.parametrize(
        "answer",
        [AnswerBody(None), AnswerBody(Address("192.0.2.1", 9), bytes((192, 0, 2, 1, 0, 0)))],
        ids=["nowhere", "ourselves"],
    )
    def test_no_peer(self, member: Member, answer: AnswerBody) -> None:
        assert member.hear(answer) == []

    def test_who_is_there(self, member: Member) -> None:
        assert member.hear(LiturgyBody(0, 0xDEAD, WANTED)) == [(6, {"peers": WANTED})]
        assert member.hear(LiturgyBody(0, 0xDEAE, WANTED)) == []

    def test_which_cathedrals_there_are(self, member: Member) -> None:
        known = tuple(Address(f"192.0.2.{number}", 2000 + number) for number in range(1, 33))
        for count in (0, 2, 32):
            ((event, info),) = member.hear(RemembranceBody(known[:count]))
            assert (event, len(info["ips"]), len(info["ports"])) == (7, 32, 32)
            found = [
                Address(socket.inet_ntoa(struct.pack("=I", ip)), socket.ntohs(port))
                for ip, port in zip(info["ips"], info["ports"], strict=True)
                if ip
            ]
            assert found == list(known[:count])
            assert not any(info["ips"][count:] + info["ports"][count:])

    @pytest.mark.parametrize(("skew_s", "heard"), [(-11, 0), (-10, 1), (10, 1), (11, 0)])
    def test_answers_are_good_for_ten_seconds(
        self, member: Member, skew_s: int, heard: int
    ) -> None:
        assert len(member.hear(PEER, skew_s=skew_s)) == heard
        assert member.context.drops() == ({} if heard else {"offer-time": 1})

    def test_what_is_for_another(self, member: Member) -> None:
        said = "got a cathedral packet (03) not ment for us (00000abc)"
        assert member.hear(PEER, identity=0xABC) == [logged(said)]
        assert member.hear(PEER, identity=0xABC, skew_s=-11) == []
        assert member.context.drops() == {"offer-identity": 1, "offer-time": 1}

    def test_what_is_short(self, member: Member) -> None:
        whole = member.cathedral.say(PEER)
        for size in (50, 622):
            member.context.purgatory_input(whole[:size])
            said = f"got a cathedral packet of bad size ({size})"
            assert member.told() == [logged(said)]
        member.context.purgatory_input(whole[:49])
        assert member.told() == []
        assert member.context.drops() == {"offer-too-short": 2, "too-short": 1}

    def test_padding_is_ignored(self, member: Member) -> None:
        member.context.purgatory_input(member.cathedral.say(PEER) + bytes(100))
        assert len(member.told()) == 1

    @pytest.mark.parametrize("at", [8, 27, 28, 91, 92, 542, 606, 622])
    def test_a_changed_one_is_dropped_in_silence(self, member: Member, at: int) -> None:
        changed = bytearray(member.cathedral.say(PEER))
        changed[at] ^= 1
        member.context.purgatory_input(changed)
        assert (member.told(), member.context.drops()) == ([], {"offer-bad-tag": 1})

    def test_of_a_kind_that_is_not_for_clients(self, member: Member) -> None:
        body: Any = PeerInfoBody(LEFT.tunnel, PEER.peer, reachable=True)
        assert member.hear(body) == []
        assert member.context.drops() == {"offer-type": 1}

    @pytest.mark.parametrize(
        ("wrong", "reason", "text"),
        [
            ({"tunnel": 0xFECA}, "ambry-tunnel", "got an ambry not ment for us (feca)"),
            ({"kek": bytes(32)}, "ambry-bad-tag", "ambry integrity check failed"),
            ({"days": 0}, "ambry-expired", "ambry generation 0x0000000a is expired"),
            ({"days": 0, "kek": bytes(32)}, "ambry-bad-tag", "ambry integrity check failed"),
        ],
    )
    def test_an_ambry_that_is_no_good(
        self, member: Member, wrong: dict[str, Any], reason: str, text: str
    ) -> None:
        assert member.hear(member.cathedral.ambry(10, bytes(32), **wrong)) == [logged(text)]
        assert member.context.drops() == {reason: 1}
        assert refusal(member.context.key_manage) == 11

    def test_an_ambry(self, member: Member) -> None:
        assert member.given(10, bytes(32)) == [(5, {"ambry": 10})]
        assert member.context.key_manage() is True
        member.context.cathedral_notify()
        assert [info.generation for info in member.infos()] == [10]

    def test_an_ambry_again(self, member: Member) -> None:
        member.given(10, bytes(32))
        said = "duplicate ambry generation 0000000a from cathedral"
        for wrong in ({}, {"kek": bytes(32)}, {"days": 0}):
            again = member.cathedral.ambry(10, bytes(32), **wrong)
            assert member.hear(again) == [logged(said)]
        other = member.cathedral.ambry(10, bytes(32), tunnel=1)
        assert member.hear(other) == [logged("got an ambry not ment for us (0001)")]

    def test_an_older_ambry_is_a_replay(self) -> None:
        """Unlike in the reference, nobody can bring the last secret back by sending it again."""
        clock = Clock()
        member = Member(context_of(clock), LEFT, clock.wall)
        old = member.cathedral.say(member.cathedral.ambry(1, bytes(32)))
        member.context.purgatory_input(old)
        clock.now += 5
        member.given(2, bytes(range(32)))
        member.told()
        member.context.purgatory_input(old)
        assert member.told() == [logged("duplicate ambry generation 00000001 from cathedral")]
        clock.now += 1
        assert member.given(1, bytes(32)) == [(5, {"ambry": 1})]

    def test_it_is_good_until_its_day_begins(self) -> None:
        clock = Clock()
        ambry = Cathedral(LEFT, clock.wall).ambry(1, bytes(32), days=1)
        for late_s, event in ((0, 5), (1, None)):
            clock.set_wall(ambry.header.expires_at + late_s)
            member = Member(context_of(clock), LEFT, clock.wall)
            assert [told for told, _ in member.hear(ambry)] == [event]


def _expected(record: Recorded) -> tuple[int, dict[str, Any]]:
    fields = record.fields

    def native(text: str) -> int:
        return int.from_bytes(bytes.fromhex(text), "little")

    match fields["type"]:
        case 2:
            return 5, {"ambry": int(fields["generation"], 16)}
        case 3:
            ip, port = native(fields["peer_ip"]), native(fields["peer_port"])
            return 4, {"ip": ip, "port": port, "flags": fields["flags"]}
        case 4:
            return 6, {"peers": bytes(id_ in fields["peers_set"] for id_ in range(255))}
        case _:
            hosts, ports = zip(*(each.split(":") for each in fields["addresses"]), strict=True)
            ips = tuple(struct.unpack("<I", socket.inet_aton(host))[0] for host in hosts)
            free = (0,) * (32 - len(ips))
            told = tuple(socket.htons(int(port)) for port in ports)
            return 7, {"ips": ips + free, "ports": told + free}


@pytest.mark.parametrize(
    "record",
    recorded("cathedral_info_reply", "cathedral_remembrance", "liturgy_reply", "ambry_offer"),
    ids=lambda record: record.name,
)
def test_recorded_answers(record: Recorded) -> None:
    """What a reference cathedral said to reference clients, as events."""
    clock = Clock(record.timestamp)
    flock = FlockId(int(record.vector["key_flock"], 16))
    client = Client(
        TunnelId(int(record.fields.get("tunnel", "1"), 16) or 1),
        Flocks(flock, flock),
        CathedralId(record.identity),
        record.cathedral_secret,
        record.cosk,
        bytes.fromhex(record.vector.get("unwrap", {}).get("kek", "00" * 32)),
    )
    group = int(record.fields.get("group", "0"), 16)
    member = Member(context_of(clock), client, clock.wall, group=group)
    member.context.purgatory_input(record.raw("packet"))
    assert member.told() == [_expected(record)]
    if "unwrap" in record.vector:
        with member.context._material.shared().reveal() as secret:
            assert secret.hex() == record.vector["unwrap"]["unwrapped_secret"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=700))
def test_whatever_begins_like_an_answer_is_counted(rest: bytes) -> None:
    member = joined()
    assert member.context.purgatory_input(b"KATEDRAL" + rest) is True
    assert sum(member.context.drops().values()) == 1


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 255), st.binary(max_size=BODY_BYTES))
def test_whatever_a_cathedral_says_does_no_harm(type_: int, start: bytes) -> None:
    """Nothing is raised, and nobody but who can wrap a secret has one taken."""
    member = joined()
    body = start.ljust(BODY_BYTES, b"\xff")
    assert member.context.purgatory_input(member.cathedral.utter(type_, body)) is True
    assert refusal(member.context.key_manage) == 11
