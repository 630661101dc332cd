"""Our module ``libkyrka`` with a cathedral: the reference's example, and beside its library."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from chancel.demo.parish import PORT, Device, Plan
from chancel.demo.play import Play
from chancel.demo.programs import CHANCEL, Program
from chancel.demo.sacristy import Sacristy
from chancel.wire.cathedral import Request
from chancel.wire.info import AnswerBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, Flocks, InstanceId
from tests.interop import kyrka
from tests.interop.kyrka import Both, Example, named
from tests.libkyrka.cathedral import LEFT, RIGHT, SELECTOR, Member, Parish
from tests.libkyrka.ends import Told
from tests.libkyrka.reference import Library

HEARD = "heaven_recv: 24 <b'Blessed sanctum, save us'> "
FIRST, SECOND = bytes(range(32)), bytes(range(1, 33))
PEER = AnswerBody(Address("192.0.2.1", 4660))
WANTED = bytes(number % 2 for number in range(255))
GROUP = 0xDEAD

Outcome = tuple[object, list[Told]]
"""What a call returned, or the number of the error it raised; and what the program was told."""

_NOBODY = InstanceId(0)


@pytest.fixture(params=["chancel", "reference"])
def cathedral(request: pytest.FixtureRequest) -> Program:
    """Whose cathedral; the reference needs root."""
    if request.param == "chancel":
        return CHANCEL
    program: Program = request.getfixturevalue("reference")
    return program


def start_example(path: Path, play: Play, device: Device, other: Device) -> Example:
    """Run the example where a device would run, with the device's keys."""
    keys, member = play.parish.sacristy, device.member
    folder = device.home / "keys"
    folder.mkdir()
    for name, key in (
        (f"kek-0x{member.device:02x}", keys.kek(member)),
        (f"id-{member.identity:08x}", keys.secret(member)),
        (f"cosk-{member.identity:08x}", keys.cosk(member)),
    ):
        (folder / name).write_bytes(key.read_bytes())
    numbers = (
        f"{member.flock_with_domain:x}",
        f"{member.device:02x}",
        f"{member.identity:08x}",
        f"{member.device:02x}{other.member.device:02x}",
    )
    address = play.parish.cathedral_of(device).address
    arguments = (str(folder), *numbers, address, str(PORT))
    return Example(path, device.home, *arguments, popen=device.host.popen)


def test_the_example(cathedral: Program, sacristy: Sacristy, tmp_path: Path) -> None:
    """Two of it find each other through a cathedral that hands them their secret, and talk."""
    path = kyrka.example("cathedral.py")
    roles = (cathedral, CHANCEL, CHANCEL)
    with (
        Play(tmp_path, Plan(shroud=True), roles, sacristy) as play,
        contextlib.ExitStack() as stack,
    ):
        left, right = play.parish.devices
        ends = [
            start_example(path, play, device, other)
            for device, other in ((left, right), (right, left))
        ]
        for end in ends:
            stack.callback(end.close)
        for end in ends:
            end.wait_for(lambda line: line.startswith(HEARD), HEARD)
            end.wait_for(lambda line: "key offer cleared" in line, "key offer cleared")
            end.wait_for(lambda line: line.startswith("event: 4 "), "where the peer is")
            assert_a_tunnel_was_told(end.lines)


def assert_a_tunnel_was_told(lines: list[str]) -> None:
    """In this order, but for where the peer is, which is told again and again, and for an ambry
    that comes twice on a busy machine."""
    again = ("event: 4 ", "duplicate ambry")
    told = [line for line in lines if line != "key manage 11" and not any(map(line.count, again))]
    assert told[0] == "event: None {'logmsg': 'shroud cathedral key created'}"
    assert told[1].startswith("event: 5 {'ambry': ")
    assert told[2] == "event: None {'logmsg': 'shroud peer key created'}"
    assert told[3] == "event: 3 {'reason': 'no keys'}"
    assert "tunnel established" in told
    assert not [line for line in told if "purgatory_input" in line or "failed" in line]


class Witnesses:
    """A client with the reference's library and one with ours, who hear the same."""

    def __init__(self, both: Both, **keywords: Any) -> None:
        self.both = both
        makes = both.theirs, both.ours
        self.members = [Member(make(), LEFT, both.clock.wall, **keywords) for make in makes]
        self.say = self.members[0].cathedral.say
        self.ambry = self.members[0].cathedral.ambry

    def call(self, name: str, *arguments: Any) -> Outcome:
        """Call both; returns what both returned or raised, and were told."""
        theirs, ours = (self._outcome(member, name, arguments) for member in self.members)
        assert ours == theirs
        return ours

    def hear(self, datagram: bytes) -> Outcome:
        """The same of a datagram from the cathedral."""
        return self.call("purgatory_input", datagram, SELECTOR)

    def requests(self) -> list[tuple[int, Flocks, Request]]:
        """What both have asked, but for the instance, which is each one's own."""
        theirs, ours = (
            [(magic, flocks, _anybody(body)) for magic, flocks, body in member.requests()]
            for member in self.members
        )
        assert ours == theirs
        return ours

    def _outcome(self, member: Member, name: str, arguments: tuple[Any, ...]) -> Outcome:
        try:
            result = getattr(member.context, name)(*arguments)
        except RuntimeError:
            result = member.context.last_error()
        return result, member.told()


def _anybody(body: Request) -> Request:
    return body if isinstance(body, LiturgyBody) else dataclasses.replace(body, instance=_NOBODY)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The reference's library."""
    return kyrka.library(tmp_path_factory.mktemp("kyrka"))


@pytest.fixture
def both(library: Library) -> Both:
    """It, and ours."""
    return Both(library)


@pytest.mark.parametrize("shroud", [False, True], ids=["bare", "shrouded"])
def test_both_ask_the_same(both: Both, shroud: bool) -> None:
    asking = {"group": GROUP, "hidden": True, "remembrance": True, "tunnel": 0xCA}
    witnesses = Witnesses(both, shroud=shroud, **asking)
    for _ in range(2):
        for call in ("cathedral_notify", "cathedral_nat_detection", "cathedral_liturgy"):
            witnesses.call(call)
        witnesses.call("cathedral_liturgy", WANTED)
        assert len(witnesses.requests()) == 4
        witnesses.hear(witnesses.say(witnesses.ambry(77, FIRST, tunnel=0xCA)))


@pytest.mark.parametrize("shroud", [False, True], ids=["bare", "shrouded"])
def test_both_are_told_the_same(both: Both, shroud: bool) -> None:
    witnesses = Witnesses(both, shroud=shroud, group=GROUP)
    witnesses.call("cathedral_notify")
    say, ambry = witnesses.say, witnesses.ambry
    ourselves = AnswerBody(Address("192.0.2.1", 9), bytes((192, 0, 2, 1, 0, 9)))
    elsewhere = AnswerBody(Address("192.0.2.1", 9), bytes(6), same_external_ipv4=True)
    known = tuple(Address(f"192.0.2.{number}", 2000 + number) for number in range(1, 33))
    peer_info: Any = PeerInfoBody(LEFT.tunnel, PEER.peer, reachable=True)
    told = [
        witnesses.hear(datagram)
        for datagram in (
            *(say(body) for body in (PEER, ourselves, elsewhere, AnswerBody(None), peer_info)),
            *(say(LiturgyBody(0, group, WANTED)) for group in (GROUP, GROUP + 1)),
            *(say(RemembranceBody(known[:count])) for count in (0, 1, 32)),
            *(say(PEER, skew_s=skew_s) for skew_s in (-11, -10, 10, 11)),
            *(say(PEER, identity=0xABC, skew_s=skew_s) for skew_s in (0, 11)),
            say(ambry(7, FIRST, tunnel=1)),
            say(ambry(7, FIRST, kek=bytes(32))),
            say(ambry(7, FIRST, days=0)),
            say(ambry(7, FIRST)),
            say(ambry(7, FIRST)),
            say(ambry(7, FIRST, tunnel=1)),
            say(ambry(8, SECOND)),
        )
    ]
    assert len([each for each in told if each != (True, [])]) == 16
    both.tick()
    witnesses.call("key_manage")


@pytest.mark.parametrize("size", [49, 50, 100, 622])
def test_both_say_the_same_of_what_is_short(both: Both, size: int) -> None:
    witnesses = Witnesses(both)
    witnesses.hear(witnesses.say(PEER)[:size])
    witnesses.hear(witnesses.say(PEER) + bytes(size))


def test_both_miss_the_same_keys(both: Both) -> None:
    witnesses = Witnesses(both)
    for member in witnesses.members:
        member.context = (both.theirs if member is witnesses.members[0] else both.ours)()
    calls = ("cathedral_notify", "cathedral_nat_detection")
    packets = [witnesses.say(PEER), witnesses.say(witnesses.ambry(1, FIRST))]

    def try_all() -> list[Outcome]:
        return [
            *(witnesses.call(call) for call in calls),
            *(witnesses.hear(packet) for packet in packets),
        ]

    outcomes = [try_all()]
    for member in witnesses.members:
        keywords = LEFT.keywords(send=member.note, udata=None)
        member.context.cathedral_configure(**keywords)
    outcomes.append(try_all())
    for call, key in (
        ("cathedral_secret_load", LEFT.secret),
        ("cathedral_cosk_load", LEFT.cosk),
        ("device_kek_load", LEFT.kek),
    ):
        witnesses.call(call, key)
        outcomes.append(try_all())
    assert [[result for result, _ in each] for each in outcomes] == [
        [12, 12, 13, 13],
        [11, 11, 13, 13],
        [15, 15, True, 13],
        [True, True, True, 13],
        [True, True, True, True],
    ]


@pytest.mark.parametrize("shroud", [False, True], ids=["bare", "shrouded"])
def test_with_the_library_as_the_library_with_itself(both: Both, shroud: bool) -> None:
    """The same events, whoever is at the other end; a new ambry is used a second sooner by ours."""
    parishes = []
    for left, right in both.pairs():
        members = [
            Member(make(), client, both.clock.wall, shroud=shroud)
            for make, client in ((left, LEFT), (right, RIGHT))
        ]
        parishes.append(Parish(*members))
    for parish in parishes:
        for member in parish.both:
            member.context.cathedral_notify()
            member.given(1, FIRST)
    for second in range(20):
        both.tick()
        for parish in parishes:
            if second == 8:
                parish.left.given(2, SECOND)
            if second == 12:
                parish.right.given(2, SECOND)
            parish.turn()
            if second >= 3:
                parish.talk(b"%d" % second)
    told = [named(member.events for member in parish.both) for parish in parishes]
    for parish, events in zip(parishes, told, strict=True):
        assert events == told[0]
        for member in parish.both:
            assert len(member.heard) >= 15
            assert member.heard[-1][0] == b"19"
