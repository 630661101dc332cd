"""What a context says to its cathedral, and what it needs for that."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chancel.errors import LocalProtocolError
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.types import Address, FlockId, Flocks
from tests.libkyrka.cathedral import (
    CIBORIUM,
    KATEDRAL,
    LEFT,
    SELECTOR,
    Cathedral,
    Member,
    context_of,
    joined,
)
from tests.libkyrka.ends import Clock, DrawingSuite, logged
from tests.libkyrka.test_refusals import refusal
from tests.protocol.cathedral_records import Recorded, recorded

ASKING = ("cathedral_notify", "cathedral_nat_detection", "cathedral_liturgy")
EVERYBODY = bytes((1,)) * 255
WANTED = bytes(number % 2 for number in range(255))
ABROAD = FlockId(0xDEADBE07)
PEER = AnswerBody(Address("192.0.2.1", 4660))


@pytest.fixture
def member() -> Member:
    return joined(group=0xDEAD, remembrance=True)


class TestRequests:
    @pytest.mark.parametrize("magic", [KATEDRAL, CIBORIUM])
    def test_an_info(self, magic: int) -> None:
        member = joined(remembrance=True, flock_dst=int(ABROAD))
        context = member.context
        call = {KATEDRAL: context.cathedral_notify, CIBORIUM: context.cathedral_nat_detection}
        assert call[magic]() is True
        ((heard, flocks, body),) = member.requests()
        assert (heard, flocks) == (magic, Flocks(LEFT.flocks.own, ABROAD))
        assert isinstance(body, InfoBody)
        assert body == InfoBody(LEFT.tunnel, body.instance, wants_remembrance=True)

    def test_each_is_another_packet_of_one_instance(self) -> None:
        member = joined()
        for _ in range(3):
            member.context.cathedral_notify()
            member.context.cathedral_nat_detection()
        assert len({data for _, data in member.asked}) == 6
        assert len({info.instance for info in member.infos()}) == 1

    def test_without_another_flock_it_is_our_own(self) -> None:
        member = joined(flock_dst=0)
        member.context.cathedral_notify()
        assert [flocks for _, flocks, _ in member.requests()] == [LEFT.flocks]

    @pytest.mark.parametrize(
        ("peers", "expected"),
        [((), EVERYBODY), ((None,), EVERYBODY), ((bytearray(WANTED),), WANTED)],
        ids=["discovery", "none", "signaling"],
    )
    def test_a_liturgy(self, peers: tuple[Any, ...], expected: bytes) -> None:
        member = joined(group=0xDEAD, hidden=True)
        assert member.context.cathedral_liturgy(*peers) is True
        signaling = expected == WANTED
        body = LiturgyBody(0xCA, 0xDEAD, expected, hidden=True, signaling=signaling)
        shown = Flocks(LEFT.flocks.own, FlockId(0))
        assert member.requests() == [(KATEDRAL, shown, body)]

    def test_a_liturgy_before_there_is_a_tunnel(self) -> None:
        """Then the device id is given as tunnel."""
        member = joined(tunnel=0xCA)
        member.context.cathedral_liturgy()
        ((_, _, body),) = member.requests()
        assert isinstance(body, LiturgyBody)
        assert body.id == 0xCA

    def test_what_send_is_called_with(self) -> None:
        called: list[tuple[Any, ...]] = []
        context = context_of(Clock())
        LEFT.load_into(context)
        for udata in ({}, {"udata": None}, {"udata": 7}):
            keywords = LEFT.keywords(send=lambda *arguments: called.append(arguments), **udata)
            context.cathedral_configure(**keywords)
            context.cathedral_nat_detection()
        assert [(each[0], each[2:]) for each in called] == [
            (context, (CIBORIUM,)),
            (context, (CIBORIUM, None)),
            (context, (CIBORIUM, 7)),
        ]

    @pytest.mark.parametrize("record", recorded("cathedral_info_libkyrka"), ids=lambda r: r.name)
    def test_the_references_own_packets(self, record: Recorded) -> None:
        """To the byte as far as they mean something; behind that the reference sends garbage."""
        meant = 92 + 9 + 38
        clock, packets = Clock(record.timestamp), list[bytes]()
        instance = bytes.fromhex(record.fields["instance"])
        suite = DrawingSuite(instance=instance, seed=record.header.seed)
        context = context_of(clock, suite)
        context.cathedral_secret_load(record.cathedral_secret)
        context.cathedral_cosk_load(record.cosk)
        context.cathedral_configure(
            send=lambda _, packet, __: packets.append(packet),
            flock_src=int(record.header.flocks.own),
            flock_dst=int(record.header.flocks.peer),
            identity=int(record.identity),
            tunnel=int(record.fields["tunnel"], 16),
            group=0,
            remembrance=bool(record.fields["flags"] & 1),
        )
        nat = record.vector["header"]["magic"] == f"{CIBORIUM:016x}"
        _ = context.cathedral_nat_detection() if nat else context.cathedral_notify()
        assert [packet[:meant] for packet in packets] == [record.raw("packet")[:meant]]
        assert [len(packet) for packet in packets] == [len(record.raw("packet"))]


class TestCodes:
    """In the order of the reference: 12 not configured, 11 no secret, 15 no COSK."""

    @pytest.mark.parametrize("call", ASKING)
    def test_asking_needs_keys(self, call: str) -> None:
        context = context_of(Clock())
        assert refusal(getattr(context, call)) == 12
        context.cathedral_configure(send=print, **LEFT.keywords())
        assert refusal(getattr(context, call)) == 11
        context.cathedral_secret_load(LEFT.secret)
        assert refusal(getattr(context, call)) == "error '15' not found"
        assert context.last_error() == 15

    def test_hearing_needs_keys(self) -> None:
        clock = Clock()
        context, cathedral = context_of(clock), Cathedral(LEFT, clock.wall)
        ambry = cathedral.say(cathedral.ambry(1, bytes(32)))
        for load in (
            lambda: None,
            lambda: context.cathedral_configure(send=print, **LEFT.keywords()),
            lambda: context.cathedral_secret_load(LEFT.secret),
        ):
            load()
            assert refusal(context.purgatory_input, ambry) == 13
        context.purgatory_input(cathedral.say(PEER))
        context.device_kek_load(LEFT.kek)
        context.purgatory_input(ambry)

    def test_files(self, tmp_path: Path) -> None:
        """The first that can't be loaded is told, and nothing is configured."""
        member = joined()
        secret, kek, cosk, short = (tmp_path / name for name in ("secret", "kek", "cosk", "short"))
        for path, content in (
            (secret, LEFT.secret),
            (kek, LEFT.kek),
            (cosk, LEFT.cosk),
            (short, LEFT.cosk[:63]),
        ):
            path.write_bytes(content)
        context = context_of(Clock())
        told: list[object] = []
        context.event_callback(lambda _, event, info, __: told.append((event, info)), None)
        paths = {"secret": str(secret), "kek": str(kek), "cosk": str(cosk)}
        for wrong, code in (
            ({"secret": str(tmp_path / "missing"), "kek": str(tmp_path)}, 1),
            ({"kek": str(tmp_path), "cosk": str(short)}, 5),
            ({"cosk": str(short)}, 6),
        ):
            keywords = LEFT.keywords(send=member.note, udata=None, **{**paths, **wrong})
            assert refusal(context.cathedral_configure, **keywords) == code
            assert refusal(context.cathedral_notify) == 12
        assert told == [logged(f"failed to read key '{short}'")]
        context.cathedral_configure(**LEFT.keywords(send=member.note, udata=None, **paths))
        context.cathedral_notify()
        assert [magic for magic, _, _ in member.requests()] == [KATEDRAL]

    def test_what_is_no_text_is_no_path(self) -> None:
        context = context_of(Clock())
        odd: dict[str, Any] = {"kek": 5, "secret": None, "cosk": b"x", "hidden": 1}
        context.cathedral_configure(send=print, **LEFT.keywords(**odd, unknown=1))
        with pytest.raises(ValueError, match="null"):
            context.cathedral_configure(send=print, **LEFT.keywords(secret="a\0b"))

    def test_shrouded_requests_need_room(self) -> None:
        member = joined(shroud=True)
        member.context.mtu_size(671)
        assert refusal(member.context.cathedral_notify) == "error '18' not found"
        member.context.mtu_size(672)
        member.context.cathedral_notify()
        assert [len(data) for _, data in member.asked] == [672]


class TestConfiguredAgain:
    def test_details_change_and_the_rest_stays(self, member: Member) -> None:
        member.given(10, bytes(32))
        member.context.key_manage()
        member.context.cathedral_notify()
        (before,) = member.infos()
        member.context.p2p_active(True)
        member.context.cathedral_configure(send=member.note, udata=None, **LEFT.keywords(group=9))
        member.context.cathedral_notify()
        (after,) = member.infos()
        assert after == InfoBody(LEFT.tunnel, before.instance, 10)
        assert member.hear(LiturgyBody(0, 9, WANTED)) == [(6, {"peers": WANTED})]
        assert member.told() == [(3, {"reason": "no keys"})]

    def test_another_tunnel_needs_another_ambry(self, member: Member) -> None:
        member.given(10, bytes(32))
        keywords = {**LEFT.keywords(), "tunnel": 0xCA01}
        member.context.cathedral_configure(send=member.note, udata=None, **keywords)
        member.context.cathedral_notify()
        assert [info.generation for info in member.infos()] == [0]

    def test_a_refused_one_changes_nothing(self, member: Member) -> None:
        keywords = LEFT.keywords(send=print, secret="/nowhere")
        assert refusal(member.context.cathedral_configure, **keywords) == 1
        keywords = {**LEFT.keywords(send=print), "identity": 0}
        assert refusal(member.context.cathedral_configure, **keywords) == 2
        member.context.cathedral_notify()
        assert len(member.requests()) == 1


class Oops(Exception):
    """Raised by a callback."""


def failing(*_: object) -> None:
    raise Oops


def test_an_exception_in_send_leaves_the_call() -> None:
    context = context_of(Clock())
    LEFT.load_into(context)
    context.cathedral_configure(send=failing, **LEFT.keywords())
    calls: list[Callable[[], bool]] = [
        context.cathedral_notify,
        context.cathedral_nat_detection,
        context.cathedral_liturgy,
    ]
    for call in calls:
        with pytest.raises(Oops):
            call()


def test_an_exception_in_the_event_of_an_ambry_loses_nothing(member: Member) -> None:
    member.context.event_callback(failing, None)
    with pytest.raises(Oops):
        member.given(10, bytes(32))
    member.context.event_callback(print, None)
    assert member.context.key_manage() is True


def test_no_key_in_what_can_be_printed(member: Member) -> None:
    member.context.cathedral_notify()
    conversation = member.context._conversation
    text = repr(member.context) + repr(conversation) + repr(conversation.__dict__)
    for secret in (LEFT.secret, LEFT.kek, LEFT.cosk):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
    with pytest.raises(LocalProtocolError):
        copy.copy(member.context)


def test_the_selector_means_nothing_without_shroud(member: Member) -> None:
    for selector in (SELECTOR, 2, 77):
        member.context.purgatory_input(member.cathedral.say(PEER), selector)
    assert len(member.told()) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("call", ASKING)
def test_a_forked_process_asks_nothing(member: Member, call: str) -> None:
    """Or the cathedral would hear two of us, and relay to the one or the other."""
    child = os.fork()
    if child == 0:
        try:
            getattr(member.context, call)()
        except LocalProtocolError:
            os._exit(len(member.asked))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    getattr(member.context, call)()
    assert len(member.asked) == 1
