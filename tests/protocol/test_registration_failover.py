"""Which cathedral a registration is at: from the first name to the death of all of them."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.protocol.client import NAMES_PATIENCE_S
from chancel.protocol.registration_events import CathedralAnswers, CathedralSilent
from chancel.protocol.registration_silence import SILENCE_S
from chancel.protocol.registration_types import CathedralChosen
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.types import Address, InstanceId, Spi
from tests.protocol.registration_world import (
    FIRST,
    KEK,
    NAT_PORT,
    NOW,
    PEER,
    SECOND,
    THIRD,
    Cathedral,
    World,
    ambry,
    registrant,
    remembering,
    said,
)

RING = (FIRST, SECOND, THIRD)
DEAD_S = 22.0
"""Within it a cathedral is found dead that answered each info: the last of those without an answer
comes 15 s after its last sign of life, or up to one info later."""
LONELY_S = 30.0
"""Within it one is found dead that gave nothing but signs: with three infos none came that was due.
"""


def three(peer: Address | None = PEER) -> list[Cathedral]:
    """Federated cathedrals that know each other; ``peer`` is what they answer."""
    found = []
    for place, address in enumerate(RING):
        cathedral = Cathedral(address, RING[place:] + RING[:place])
        cathedral.peer = peer
        found.append(cathedral)
    return found


def chosen(world: World) -> list[Address | None]:
    """One after the other; one that was only told of is chosen again when it has answered."""
    addresses = [each.address for each in world.took(CathedralChosen)]
    return [address for address, _ in itertools.groupby(addresses)]


def time_to_leave(world: World, most_s: float) -> float:
    """How long the client stays at its cathedral from now on."""
    at, began = world.registration.cathedral, world.now
    while world.registration.cathedral == at:
        assert world.now < began + most_s
        world.run(0.1)
    return world.now - began


class TestStart:
    def test_with_the_first_of_the_configuration(self) -> None:
        world = World(*three())
        assert world.registration.cathedral == FIRST
        assert world.took(CathedralChosen) == [CathedralChosen(FIRST, NOW)]

    def test_without_names(self) -> None:
        world = World(*three(), configured=[])
        world.registration.resolved([], world.now)
        assert world.registration.cathedral is None
        assert world.registration.wake_at() is None
        world.run(100.0)
        world.registration.resolved([SECOND], world.now)
        world.settle()
        assert chosen(world) == [SECOND]
        assert [(each.at, each.to) for each in world.sent] == [(NOW + 100, SECOND)]

    def test_what_is_remembered_waits_for_the_names(self) -> None:
        world = World(*three(), configured=[], client=remembering())
        world.registration.remembered([SECOND, THIRD], world.now)
        world.run(NAMES_PATIENCE_S / 2)
        assert world.registration.cathedral is None
        world.registration.resolved([FIRST], world.now)
        world.settle()
        world.run(100.0)
        assert chosen(world) == [FIRST]

    def test_but_not_for_long(self) -> None:
        world = World(*three(), configured=[], client=remembering())
        world.registration.remembered([SECOND, THIRD], world.now)
        world.run(NAMES_PATIENCE_S)
        assert chosen(world) == [SECOND]
        world.registration.resolved([FIRST], world.now)
        world.run(100.0)
        assert chosen(world) == []

    def test_nothing_is_remembered(self) -> None:
        world = World(configured=[], client=remembering())
        world.registration.remembered([], world.now)
        assert world.registration.wake_at() is None

    def test_the_configured_one_is_first_even_if_the_file_begins_otherwise(self) -> None:
        world = World(*three(), configured=[FIRST], client=remembering())
        world.registration.remembered([SECOND, THIRD], world.now)
        assert world.registration.cathedral == FIRST


class TestDeath:
    @pytest.fixture
    def cathedrals(self) -> list[Cathedral]:
        return three()

    @pytest.fixture
    def world(self, cathedrals: list[Cathedral]) -> World:
        world = World(*cathedrals, configured=[FIRST], client=remembering())
        world.run(31.0)
        assert chosen(world) == [FIRST]
        return world

    def test_of_one_that_answered_each_info(
        self, world: World, cathedrals: list[Cathedral]
    ) -> None:
        cathedrals[0].dead = True
        assert time_to_leave(world, DEAD_S) > 9.0
        assert chosen(world) == [SECOND]
        _, silent, answers = world.told(object)
        assert isinstance(silent, CathedralSilent)
        assert (silent.address, silent.next) == (FIRST, SECOND)
        assert 9.0 < silent.silent_s < DEAD_S
        assert answers == CathedralAnswers(SECOND)

    def test_infos_hurry_meanwhile_but_not_too_much(
        self, world: World, cathedrals: list[Cathedral]
    ) -> None:
        cathedrals[0].dead = True
        before = len(world.infos)
        time_to_leave(world, DEAD_S)
        *hurried, last = world.infos[before:]
        assert [each.to for each in hurried] == [FIRST] * len(hurried)
        assert last.to == SECOND
        assert 3 <= len(hurried) <= 6

    @pytest.mark.parametrize("after_s", range(16))
    def test_of_one_without_the_peer(
        self, world: World, cathedrals: list[Cathedral], after_s: int
    ) -> None:
        for each in cathedrals:
            each.peer = None
        world.run(40.0 + after_s)
        cathedrals[0].dead = True
        assert 9.0 < time_to_leave(world, LONELY_S) <= LONELY_S
        (silent,) = world.told(CathedralSilent)
        assert silent.next == SECOND

    @pytest.mark.parametrize("after_s", range(16))
    def test_that_the_peer_left_is_no_death(
        self, world: World, cathedrals: list[Cathedral], after_s: int
    ) -> None:
        world.run(after_s)
        cathedrals[0].peer = None
        world.run(1000.0)
        assert chosen(world) == []

    @pytest.mark.parametrize("peer_after_s", [0.0, 1.0, 2.5])
    @pytest.mark.parametrize("nat_port", [0, NAT_PORT])
    @pytest.mark.parametrize("early_s", range(31))
    def test_soon_after_our_start(self, early_s: int, nat_port: int, peer_after_s: float) -> None:
        cathedrals = three(peer=None)
        world = World(*cathedrals, client=registrant(remember=True, nat_port=nat_port))
        world.run(peer_after_s)
        for each in cathedrals:
            each.peer = PEER
        world.registration.report_keys(Spi(1), None, world.now)
        world.run(early_s + 0.1)
        cathedrals[0].dead = True
        assert time_to_leave(world, DEAD_S) < DEAD_S
        assert chosen(world) == [FIRST, SECOND]

    @pytest.mark.parametrize("early_s", range(31))
    def test_of_a_lonely_one_soon_after_our_start(self, early_s: int) -> None:
        cathedrals = three(peer=None)
        world = World(*cathedrals)
        world.run(early_s + 0.1)
        cathedrals[0].dead = True
        assert time_to_leave(world, LONELY_S) < LONELY_S

    def test_the_dead_are_passed_by_quickly(
        self, world: World, cathedrals: list[Cathedral]
    ) -> None:
        cathedrals[0].dead = cathedrals[1].dead = True
        time_to_leave(world, DEAD_S)
        assert time_to_leave(world, DEAD_S) < 12.0
        assert chosen(world) == [SECOND, THIRD]

    def test_nobody_returns_to_one_that_is_back(
        self, world: World, cathedrals: list[Cathedral]
    ) -> None:
        cathedrals[0].dead = True
        time_to_leave(world, DEAD_S)
        cathedrals[0].dead = False
        world.run(1000.0)
        assert chosen(world) == [SECOND]

    def test_of_all_and_one_returns(self, world: World, cathedrals: list[Cathedral]) -> None:
        for each in cathedrals:
            each.dead = True
        world.run(300.0)
        assert set(chosen(world)) == set(RING)
        cathedrals[2].dead = False
        world.run(30.0)
        assert world.registration.cathedral == THIRD
        world.took(CathedralChosen)
        world.run(300.0)
        assert chosen(world) == []

    def test_the_one_before_is_no_longer_believed(
        self, world: World, cathedrals: list[Cathedral]
    ) -> None:
        cathedrals[0].dead = True
        time_to_leave(world, DEAD_S)
        answer = said(AnswerBody(PEER), world.wall)
        assert world.receive(answer, FIRST) == [Drop.CATHEDRAL_SOURCE]

    def test_keys_and_generation_go_with_us(
        self, world: World, cathedrals: list[Cathedral]
    ) -> None:
        world.registration.report_keys(None, None, world.now)
        instance = world.infos[-1].info
        cathedrals[0].dead = True
        time_to_leave(world, DEAD_S)
        assert world.infos[-1].to == SECOND
        assert world.infos[-1].info == instance


class TestChoice:
    def test_configured_ones_need_no_remembrance(self) -> None:
        cathedrals = three()
        world = World(*cathedrals)
        world.run(30.0)
        assert not world.registration.drops  # they are asked only to hear that they live
        cathedrals[0].dead = True
        world.run(DEAD_S)
        assert chosen(world) == [FIRST, SECOND]

    def test_the_first_is_dead_from_the_start(self) -> None:
        cathedrals = three()
        cathedrals[0].dead = True
        world = World(*cathedrals)
        time_to_leave(world, DEAD_S)
        assert world.registration.cathedral == SECOND

    def test_a_lonely_client_stays(self) -> None:
        world = World(*three(peer=None))
        world.run(1000.0)
        assert chosen(world) == [FIRST]
        assert world.told(CathedralSilent) == []

    @pytest.mark.parametrize("ran_s", range(1, 16))
    def test_a_restart_of_ours_is_no_death(self, ran_s: int) -> None:
        cathedrals = three(peer=None)
        before = World(*cathedrals)
        before.run(ran_s)
        world = World(*cathedrals, instance=InstanceId(2), now=before.now)
        world.run(1000.0)
        assert chosen(world) == [FIRST]


class TestAlone:
    @pytest.mark.parametrize("peer", [None, PEER], ids=["lonely", "peer"])
    def test_without_signs_silence_says_nothing(self, peer: Address | None) -> None:
        cathedral = Cathedral(FIRST)
        cathedral.peer = peer
        world = World(cathedral)
        world.run(100.0)
        cathedral.peer = None
        world.run(1000.0)
        assert world.told(CathedralSilent) == []
        assert chosen(world) == [FIRST]

    def test_with_signs_it_is_told_of_once(self) -> None:
        cathedral = Cathedral(FIRST)
        cathedral.peer = PEER
        world = World(cathedral, client=remembering())
        world.run(30.0)
        assert world.told(CathedralAnswers) == [CathedralAnswers(FIRST)]
        cathedral.dead = True
        world.run(1000.0)
        (silent,) = world.told(CathedralSilent)
        assert (silent.address, silent.next) == (FIRST, None)
        assert {after.at - before.at for before, after in itertools.pairwise(world.sent)} == {5.0}
        cathedral.dead = False
        world.run(10.0)
        assert world.told(CathedralAnswers) == [CathedralAnswers(FIRST)]
        assert chosen(world) == [FIRST]

    def test_only_itself_is_remembered(self) -> None:
        cathedral = Cathedral(FIRST)
        world = World(cathedral, client=remembering())
        world.run(30.0)
        cathedral.dead = True
        world.run(1000.0)
        assert chosen(world) == [FIRST]
        assert [each.next for each in world.told(CathedralSilent)] == [None]


class TestNames:
    def test_one_that_answers_stays(self) -> None:
        world = World(*three(), configured=[FIRST])
        world.run(30.0)
        world.registration.resolved([SECOND], world.now)
        world.run(100.0)
        assert chosen(world) == [FIRST]

    def test_and_is_left_for_the_new_address_when_it_fails(self) -> None:
        cathedrals = three()
        world = World(*cathedrals, configured=[FIRST])
        world.run(30.0)
        world.registration.resolved([SECOND], world.now)
        cathedrals[0].dead = True
        world.run(DEAD_S)
        assert chosen(world) == [FIRST, SECOND]

    def test_one_that_fails_is_left_at_once(self) -> None:
        cathedrals = three()
        world = World(*cathedrals, configured=[FIRST])
        world.run(30.0)
        cathedrals[0].dead = True
        world.run(DEAD_S)
        world.registration.resolved([SECOND], world.now)
        world.settle()
        assert chosen(world) == [FIRST, SECOND]
        assert world.sent[-1].to == SECOND

    def test_one_never_heard_is_left_at_once(self) -> None:
        world = World(*three(peer=None), configured=[FIRST])
        world.run(30.0)
        world.registration.resolved([SECOND], world.now)
        assert chosen(world) == [FIRST, SECOND]

    def test_one_silent_for_long_is_left_at_once(self) -> None:
        cathedrals = three()
        world = World(*cathedrals, configured=[FIRST])
        cathedrals[0].peer = None
        world.run(60.0)
        world.registration.resolved([SECOND], world.now)
        assert chosen(world) == [FIRST, SECOND]

    def test_one_silent_for_a_while_is_asked_whether_it_lives(self) -> None:
        for dead, then in ((False, []), (True, [SECOND])):
            cathedrals = three(peer=None)
            cathedrals[0].ambry = ambry(1)
            world = World(
                *cathedrals, configured=[FIRST], client=registrant(kek=lambda: Secret(KEK))
            )
            cathedrals[0].ambry = None
            world.run(30.0)
            cathedrals[0].dead = dead
            world.registration.resolved([SECOND], world.now)
            assert chosen(world) == [FIRST]
            world.run(DEAD_S)
            assert chosen(world) == then

    def test_one_that_never_had_an_ambry_is_told_to_be_silent(self) -> None:
        """There is no other cathedral, but an exchange may be waiting for its ambry."""
        cathedrals = three(peer=None)
        world = World(*cathedrals, configured=[FIRST], client=registrant(kek=lambda: Secret(KEK)))
        world.run(7.0)
        cathedrals[0].dead = True
        world.run(50.0)
        (silent,) = [event for event in world.events if isinstance(event, CathedralSilent)]
        assert silent.next is None
        world.run(300.0)
        assert sum(isinstance(event, CathedralSilent) for event in world.events) == 1

    def test_no_address_that_was_known_is_a_reason_to_move(self) -> None:
        world = World(*three(peer=None), configured=[FIRST])
        world.registration.resolved([FIRST], world.now)
        world.registration.resolved([], world.now)
        assert chosen(world) == [FIRST]

    def test_names_that_change_all_the_time_break_no_limit(self) -> None:
        world = World(configured=[FIRST])
        for number in range(200):
            world.registration.resolved([RING[number % 3]], world.now)
            world.run(0.2)  # the world refuses two infos to one of them within three seconds
        assert len(world.sent) <= 3 * (200 * 0.2 / 3.0 + 1)


def test_a_cathedral_with_another_clock_is_left() -> None:
    cathedrals = three()
    cathedrals[0].clock_s = 3600.0
    world = World(*cathedrals)
    time_to_leave(world, DEAD_S)
    world.run(100.0)
    assert world.registration.cathedral == SECOND
    assert world.registration.clock_skew_s == 0


def test_announcing_on_another_network_keeps_the_cathedral() -> None:
    world = World(*three(), client=registrant(nat_port=1))
    for _ in range(100):
        world.run(1.3)
        world.registration.network_changed(world.now)
        world.settle()
    assert chosen(world) == [FIRST]


@pytest.mark.parametrize("seed", range(5))
def test_one_answer_in_ten_that_is_lost_is_no_death(seed: int) -> None:
    world = World(*three(), client=remembering())
    luck = random.Random(seed)
    world.lost = lambda: luck.random() < 0.1
    world.run(3600.0)
    assert len(chosen(world)) <= 3


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.booleans()), max_size=12),
    st.integers(0, 2),
    st.sampled_from([None, PEER]),
    st.booleans(),
)
def test_whoever_is_left_is_found_and_kept(
    changes: list[tuple[int, int, bool]], left: int, peer: Address | None, told: bool
) -> None:
    cathedrals = three(peer)
    world = World(
        *cathedrals,
        configured=[FIRST] if told else RING,
        client=remembering() if told else registrant(),
    )
    for wait_s, index, dead in changes:
        cathedrals[index].dead = dead
        world.run(wait_s)
    if told and not world.told(CathedralAnswers):
        left = 0  # it knows of no other
    for index, each in enumerate(cathedrals):
        each.dead = index != left
    world.run(SILENCE_S + 2 * DEAD_S)
    assert world.registration.cathedral == RING[left]
    world.took(CathedralChosen)
    world.run(300.0)
    assert chosen(world) == []
