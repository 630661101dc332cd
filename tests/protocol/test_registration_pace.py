"""When a cathedral is told about us, from the first info until it announces the peer itself."""

from __future__ import annotations

import itertools
import math

import pytest

from chancel.protocol.registration_pace import Pace
from chancel.protocol.registration_types import PeerAnnounced
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.types import InstanceId, Spi
from tests.protocol.registration_world import (
    FIRST,
    LIMIT_S,
    NAT_PORT,
    NOW,
    PEER,
    SECOND,
    SETTLE_S,
    Cathedral,
    World,
    registrant,
)

FOUND_S = 16.0
"""From our start, or the peer's if that is later, to the peer's address."""
HURRY_S = 3.2
EASY_S = 5.0
WAIT_S = 40.0


def meeting(
    whole_seconds: bool = False,
    peer_after_s: float = 0.0,
    start: float = NOW,
    nat_port: int = NAT_PORT,
) -> tuple[World, Cathedral]:
    """A client at a cathedral that announces the peer as soon as it has judged both ends.

    The peer hurries as we do: it is judged as soon as it can be.
    """
    cathedral = Cathedral(FIRST)
    cathedral.whole_seconds = whole_seconds
    cathedral.peer = PEER if not peer_after_s else None
    cathedral.peer_judged_at = start + peer_after_s + SETTLE_S + 0.2
    world = World(cathedral, client=registrant(nat_port=nat_port), now=start)
    if peer_after_s:
        world.run(peer_after_s)
        cathedral.peer = PEER
        world.registration.report_keys(Spi(1), None, world.now)
        world.settle()
    return world, cathedral


def found_at(world: World, most_s: float = 60.0) -> float:
    """When the peer's own address comes."""
    world.run(most_s)
    return next(each.at for each in world.took(PeerAnnounced) if each.address == PEER)


def gaps(world: World) -> list[float]:
    return [round(b.at - a.at, 3) for a, b in itertools.pairwise(world.infos)]


@pytest.mark.parametrize("whole_seconds", [False, True], ids=["exact", "whole seconds"])
class TestTheWayToThePeer:
    @pytest.mark.parametrize("start", [NOW, NOW + 0.01, NOW + 0.5, NOW + 0.99])
    def test_is_known_right_after_both_ends_can_be_judged(
        self, whole_seconds: bool, start: float
    ) -> None:
        world, _ = meeting(whole_seconds, start=start)
        assert start + SETTLE_S < found_at(world) < start + FOUND_S

    @pytest.mark.parametrize("tenths", range(1, 200, 7))
    def test_is_known_as_soon_if_the_peer_comes_later(
        self, whole_seconds: bool, tenths: int
    ) -> None:
        later_s = tenths / 10
        world, _ = meeting(whole_seconds, later_s)
        assert found_at(world) < NOW + later_s + FOUND_S

    @pytest.mark.parametrize("tenths", range(0, 60, 7))
    def test_comes_with_the_next_info_of_a_peer_that_does_not_hurry(
        self, whole_seconds: bool, tenths: int
    ) -> None:
        world, cathedral = meeting(whole_seconds)
        cathedral.peer_judged_at = judged_at = NOW + SETTLE_S + tenths / 10
        assert found_at(world) <= max(judged_at + HURRY_S, NOW + FOUND_S)

    def test_is_known_one_turn_later_if_our_first_info_was_lost(self, whole_seconds: bool) -> None:
        world, cathedral = meeting(whole_seconds)
        cathedral.dead = True
        world = World(cathedral, client=registrant(nat_port=NAT_PORT), instance=InstanceId(2))
        cathedral.dead = False  # and the next is taken for a restart, and not answered either
        assert found_at(world) < NOW + HURRY_S + FOUND_S

    def test_a_restart_of_ours_takes_as_long(self, whole_seconds: bool) -> None:
        world, _ = meeting(whole_seconds)
        world.run(100.3)
        world.took(PeerAnnounced)
        world.registration.renew_instance(InstanceId(2), world.now)
        world.run(HURRY_S)
        restarted_at = world.infos[-1].at
        assert found_at(world) < restarted_at + FOUND_S

    @pytest.mark.parametrize("phase_s", [0.1, 1.3, 2.6, 4.9])
    def test_a_restart_of_the_peer_takes_as_long(self, whole_seconds: bool, phase_s: float) -> None:
        world, cathedral = meeting(whole_seconds)
        world.run(100.0 + phase_s)
        world.took(PeerAnnounced)
        cathedral.peer_judged_at = world.now + SETTLE_S
        assert found_at(world) < world.now + FOUND_S + EASY_S - 60.0

    def test_infos_keep_apart_all_the_while(self, whole_seconds: bool) -> None:
        world, cathedral = meeting(whole_seconds, 2.0)
        world.run(100.0)
        in_turn = [each for each in world.infos if each.at != NOW + 2.0]
        assert all(b.at - a.at >= LIMIT_S for a, b in itertools.pairwise(in_turn))
        assert cathedral.passed_on == [each.info for each in in_turn]


def test_an_info_that_left_late_is_reckoned_from_when_it_was_answered() -> None:
    pace = Pace(NOW, detects_nat=True)
    pace.choose(FIRST, NOW)
    pace.info_sent((None, None), NOW)
    pace.heard(NOW + 0.8)
    while pace.nat_at == math.inf:
        pace.info_sent((None, None), pace.info_at(overdue=False))
        pace.heard(pace.info_at(overdue=False))
    assert pace.nat_at - (NOW + 0.8) == pytest.approx(15.2)


class TestHurry:
    def test_ends_when_the_peer_is_announced(self) -> None:
        world, _ = meeting()
        world.run(100.0)
        assert gaps(world)[:4] == [3.2, 3.2, 3.2, 6.0]
        assert set(gaps(world)[5:]) == {EASY_S}

    def test_ends_after_a_while_in_vain(self) -> None:
        world, cathedral = meeting()
        cathedral.peer_judged_at = NOW + 10_000
        world.run(1000.0)
        assert max(gaps(world)[:9]) < 2 * HURRY_S
        assert [each.at - NOW > WAIT_S for each in world.infos].count(False) == 12
        assert set(gaps(world)[13:]) == {EASY_S}

    def test_a_lost_answer_is_no_reason(self) -> None:
        world, cathedral = meeting()
        cathedral.peer_judged_at = NOW + 10_000
        world.run(100.0)
        count = len(world.infos)
        world.lost = lambda: len(world.infos) in (count + 1, count + 4)
        world.run(200.0)
        assert set(gaps(world)[count:]) == {EASY_S}

    def test_there_is_none_without_nat_detection(self) -> None:
        world, _ = meeting(nat_port=0)
        world.run(100.0)
        assert set(gaps(world)) == {EASY_S}
        assert {each.magic for each in world.sent} == {CATHEDRAL.magic}

    def test_begins_again_at_another_cathedral(self) -> None:
        first, second = Cathedral(FIRST), Cathedral(SECOND)
        first.peer = second.peer = PEER
        world = World(first, second, client=registrant(nat_port=NAT_PORT))
        world.run(60.0)
        first.dead = True
        world.run(30.0)
        second.peer = SECOND
        before = len(world.infos)
        world.run(20.0)
        assert {each.to for each in world.infos[before:]} == {SECOND}
        assert HURRY_S in gaps(world)[before:]


class TestMessagesOfNatDetection:
    def test_go_ahead_of_an_info_only_while_there_is_something_to_judge(self) -> None:
        world, _ = meeting()
        world.run(60.0)
        after = [each.at for each in world.infos]
        probes = [each.at for each in world.sent if each.magic == NAT.magic]
        assert probes == [pytest.approx(NOW + 15.2) if at == NOW + 15.6 else at for at in after]

    @pytest.mark.parametrize("judged_after_s", [0.0, 30.0, 10_000.0])
    def test_are_one_for_each_info(self, judged_after_s: float) -> None:
        world, cathedral = meeting()
        cathedral.peer_judged_at = NOW + judged_after_s
        world.run(999.0)
        assert len(world.sent) == 2 * len(world.infos)

    def test_that_were_meant_for_another_cathedral_are_void(self) -> None:
        pace = Pace(NOW, detects_nat=True)
        pace.choose(FIRST, NOW)
        while pace.nat_at == math.inf:
            pace.info_sent((None, None), pace.info_at(overdue=False))
        pace.choose(SECOND, pace.nat_at - 0.1)
        assert pace.nat_at == math.inf
        assert pace.nat_follows

    def test_are_put_off_by_news(self) -> None:
        world, _ = meeting()
        world.run(14.0)
        world.registration.network_changed(world.now)
        world.run(40.0)
        later = [each for each in world.sent if each.at >= NOW + 14.0]
        assert [(each.magic, round(each.at - NOW, 1)) for each in later[:4]] == [
            (CATHEDRAL.magic, 14.0),
            (NAT.magic, 14.0),
            (NAT.magic, 16.8),
            (CATHEDRAL.magic, 17.2),
        ]
