"""Members of liturgies and real cathedrals: who is told of whom, and what a bad one can't do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto.deterministic import SeededSuite
from chancel.errors import LocalProtocolError
from chancel.protocol.cathedral_offers import seal_answer
from chancel.protocol.liturgy import Liturgy, MemberCame, MemberLeft
from chancel.protocol.registration_events import CathedralSilent
from chancel.protocol.registration_types import CathedralChosen, Registrant, StoreRemembrance
from chancel.vault.secret import Secret
from chancel.wire.cathedral import Answer
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.types import Address
from tests.protocol.cathedral.parish import (
    FLOCK,
    HERE,
    OWN_FLOCKS,
    THERE,
    WALL,
    Diocese,
    Parish,
    cosk_of,
    secret_of,
)

GONE_S = 130.0
"""After this long a cathedral has forgotten whoever is silent."""


class Member:
    """A device of a liturgy, at the address by which a cathedral knows it."""

    def __init__(
        self,
        number: int,
        cathedrals: Iterable[Address] = (HERE,),
        *,
        now: float,
        group: int = 0,
        hidden: bool = False,
        wanted: Iterable[int] | None = None,
        remember: bool = False,
    ) -> None:
        identity = CathedralId(number)
        self.address = Address("198.51.100.1", 1000 + number)
        self.suite = SeededSuite(f"member {number}".encode())
        self.commands: list[object] = []
        self.asked: list[float] = []
        self.liturgy = Liturgy(
            self.suite,
            Registrant(
                identity,
                OWN_FLOCKS,
                TunnelId(number << 8),
                lambda: Secret(secret_of(FLOCK, identity)),
                lambda: Secret(cosk_of(identity)),
                remember=remember,
            ),
            tuple(cathedrals),
            now,
            WALL + now,
            group=group,
            hidden=hidden,
            wanted=wanted,
        )

    def said(self, kind: type) -> list[object]:
        return [each for each in self.commands if isinstance(each, kind)]

    @property
    def sees(self) -> set[int]:
        return set(self.liturgy.members)


class Congregation:
    """Members, and the cathedrals of a diocese. Those in ``silent`` neither hear nor speak."""

    def __init__(self) -> None:
        self.diocese = Diocese()
        self.homes = {HERE: self.diocese.here, THERE: self.diocese.there}
        self.members: list[Member] = []
        self.silent: set[object] = set()
        self.now = self.diocese.here.now

    def joins(self, number: int, *cathedrals: Address, **options: object) -> Member:
        member = Member(number, cathedrals or (HERE,), now=self.now, **options)  # type: ignore[arg-type]
        self.members.append(member)
        return member

    def run(self, seconds: float, step_s: float = 0.5) -> None:
        for _ in range(int(seconds / step_s)):
            self.diocese.after(step_s)
            self.now += step_s
            for member in self.members:
                if member not in self.silent:
                    self._turn(member)

    def _turn(self, member: Member) -> None:
        liturgy, wall = member.liturgy, WALL + self.now
        due = liturgy.wake_at()
        if due is not None and due <= self.now:
            liturgy.wake(self.now, wall)
        for datagram, to in liturgy.datagrams():
            member.asked.append(self.now)
            if to in self.silent:
                continue
            for answer, target in self.diocese.give(self.homes[to], datagram, member.address):
                if target == member.address:
                    liturgy.receive(answer, to, self.now, wall)
        member.commands += liturgy.commands()


@pytest.fixture
def congregation() -> Congregation:
    return Congregation()


def test_members_find_each_other_and_leave(congregation: Congregation) -> None:
    one, two, three = (congregation.joins(number) for number in (1, 2, 254))
    congregation.run(11)
    assert (one.sees, two.sees, three.sees) == ({2, 254}, {1, 254}, {1, 2})
    congregation.silent.add(two)
    congregation.run(GONE_S + 6)
    assert (one.sees, three.sees) == ({254}, {1})
    assert [each.device for each in one.said(MemberLeft)] == [2]  # type: ignore[attr-defined]
    congregation.silent.remove(two)
    congregation.run(11)
    assert one.sees == {2, 254}


def test_it_asks_every_five_seconds(congregation: Congregation) -> None:
    one = congregation.joins(1)
    start = congregation.now
    congregation.run(30)
    assert [at - start for at in one.asked] == pytest.approx([0.5 + 5 * n for n in range(6)], abs=1)
    assert one.liturgy.drops == {}


def test_groups_hidden_ones_and_wishes(congregation: Congregation) -> None:
    plain = congregation.joins(1, group=7)
    hidden, secret = (congregation.joins(n, group=7, hidden=True) for n in (2, 3))
    stranger = congregation.joins(4, group=8)
    signaling = congregation.joins(5, group=7, wanted=[6])
    callee, other = (congregation.joins(n, group=7, wanted=[]) for n in (6, 9))
    congregation.run(11)
    assert plain.sees == {2, 3, 5, 6, 9}
    assert hidden.sees == secret.sees == {1, 5, 6, 9}
    assert stranger.sees == set()
    assert {5, 9} & signaling.sees == set()
    assert 6 in signaling.sees
    assert 5 in callee.sees
    assert 5 not in other.sees
    other.liturgy.want([5], congregation.now)
    congregation.run(11)
    assert 5 in other.sees
    assert 9 in signaling.sees


def test_members_at_two_cathedrals(congregation: Congregation) -> None:
    here, there = congregation.joins(1, HERE), congregation.joins(2, THERE, hidden=True)
    congregation.run(12)
    assert (here.sees, there.sees) == ({2}, {1})


def test_a_dead_cathedral_is_left_and_nobody_is_forgotten(congregation: Congregation) -> None:
    one = congregation.joins(1, HERE, THERE, remember=True)
    two = congregation.joins(2, THERE)
    congregation.run(31)
    assert one.sees == {2}
    assert one.said(StoreRemembrance)
    congregation.silent.add(HERE)
    congregation.run(30)
    assert one.liturgy.cathedral == THERE
    chosen = [each.address for each in one.said(CathedralChosen)]  # type: ignore[attr-defined]
    assert chosen == [HERE, THERE]
    assert not one.said(MemberLeft)
    assert (one.sees, two.sees) == ({2}, {1})
    events = list(iter(one.liturgy.next_event, None))
    assert [each.next for each in events if isinstance(each, CathedralSilent)] == [THERE]


class TestABadCathedral:
    """It has the cathedral secret, and says what it likes."""

    def says(self, member: Member, body: Answer, now: float, source: Address = HERE) -> None:
        base = member.liturgy._client.keys.for_offers(now)
        with base.reveal() as key:
            identity = CathedralId(member.liturgy._device)
            datagram = seal_answer(member.suite, key, identity, int(WALL + now), body)
        member.liturgy.receive(datagram, source, now, WALL + now)
        member.commands += member.liturgy.commands()

    def test_it_says_nothing_unasked(self, congregation: Congregation) -> None:
        one = congregation.joins(1)
        everybody = LiturgyBody(0, 0, bytes([1]) * PEERS_BYTES)
        self.says(one, everybody, congregation.now)
        assert one.liturgy.drops == {Drop.OFFER_UNEXPECTED: 1}
        congregation.silent.add(HERE)
        congregation.run(0.5)
        self.says(one, everybody, congregation.now)
        assert one.sees == set(range(2, 255))
        for _ in range(5):
            self.says(one, dataclasses.replace(everybody, peers=bytes(255)), congregation.now)
        assert one.sees == set(range(2, 255))
        assert one.liturgy.drops == {Drop.OFFER_UNEXPECTED: 6}

    def test_what_is_refused(self, congregation: Congregation) -> None:
        one = congregation.joins(1, group=3)
        congregation.silent.add(HERE)
        congregation.run(0.5)
        self.says(one, LiturgyBody(0, 4, bytes([1]) * 255), congregation.now)
        self.says(one, AnswerBody(HERE), congregation.now)
        self.says(one, LiturgyBody(0, 3, bytes([1]) * 255), congregation.now, THERE)
        assert one.liturgy.drops == {
            Drop.LITURGY_GROUP: 1,
            Drop.OFFER_TYPE: 1,
            Drop.CATHEDRAL_SOURCE: 1,
        }
        assert one.sees == set()

    @given(peers=st.binary(min_size=PEERS_BYTES, max_size=PEERS_BYTES))
    def test_only_ones_and_zeros_say_anything(self, peers: bytes) -> None:
        congregation = Congregation()
        one = congregation.joins(1)
        congregation.silent.add(HERE)
        congregation.run(0.5)
        self.says(one, LiturgyBody(0, 0, peers), congregation.now)
        assert one.sees == {n for n in range(2, 255) if peers[n] == 1}
        assert len(one.said(MemberCame)) == len(one.sees)

    def test_garbage(self, congregation: Congregation) -> None:
        one = congregation.joins(1)
        for size in (0, 7, 631, 1500):
            one.liturgy.receive(bytes(size), HERE, congregation.now, WALL + congregation.now)
        assert one.liturgy.drops.total() == 4
        assert one.sees == set()


@pytest.mark.parametrize("number", [0, 255, -1, 1000])
def test_a_device_that_cannot_be_is_not_wanted(congregation: Congregation, number: int) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 254"):
        congregation.joins(1, wanted=[number])


def test_a_member_is_a_device_alone() -> None:
    parish = Parish()
    with pytest.raises(LocalProtocolError, match="high byte"):
        Liturgy(
            parish.suite,
            Registrant(
                *(CathedralId(1), OWN_FLOCKS, TunnelId(0x0102)),
                lambda: Secret(bytes(32)),
                lambda: Secret(bytes(64)),
            ),
            (),
            *(parish.now, parish.wall),
        )
