"""What a bad cathedral could once do, and what keeps it from that now: one test for each."""

from __future__ import annotations

import gc

import pytest

from chancel.protocol.client import IN_VAIN_S, STORE_SPACING_S
from chancel.protocol.registration_events import (
    AmbryAdopted,
    CathedralAnswers,
    CathedralInVain,
)
from chancel.protocol.registration_types import AdoptSecret, CathedralChosen, StoreRemembrance
from chancel.protocol.whereabouts import Whereabouts
from chancel.sim.heresy_meeting import HeresyMeeting
from chancel.sim.meeting import MeetingScenario
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address
from tests.protocol.cathedral.parish import HERE, THERE, Parish, flock, left
from tests.protocol.cathedral.test_federation import whereabouts
from tests.protocol.registration_world import (
    FIRST,
    KEK,
    PEER,
    SECOND,
    Cathedral,
    World,
    ambry,
    registrant,
    remembering,
    said,
)
from tests.protocol.test_whereabouts import direct

OLDEST, OLD, NEW = 0x1111, 0x2222, 0x3333
THIRD = Address("192.0.2.3", 3)
VICTIM = Address("198.51.100.203", 53)


class TestAmbries:
    def world(self) -> World:
        return World(Cathedral(FIRST), client=registrant(kek=lambda: Secret(KEK)))

    def offer(self, world: World, generation: int, days: int) -> list[Drop]:
        return world.receive(said(ambry(generation, days=days), world.wall))

    def adopt(self, world: World, generation: int, days: int) -> None:
        assert self.offer(world, generation, days) == []
        (command,) = world.took(AdoptSecret)
        world.registration.adopted(command.generation, world.now)
        world.settle()

    def test_an_old_one_that_we_never_had_does_not_lock_the_new_one_out(self) -> None:
        world = self.world()
        self.adopt(world, NEW, days=30)
        self.adopt(world, OLD, days=20)  # nobody can tell that it is old
        self.adopt(world, NEW, days=30)
        assert len(world.told(AmbryAdopted)) == 3

    def test_only_the_one_that_expires_last_comes_back(self) -> None:
        world = self.world()
        self.adopt(world, OLD, days=20)
        self.adopt(world, NEW, days=30)
        assert self.offer(world, OLD, days=20) == [Drop.AMBRY_REPEATED]
        self.adopt(world, OLDEST, days=10)
        assert self.offer(world, OLD, days=20) == [Drop.AMBRY_REPEATED]
        self.adopt(world, NEW, days=30)

    def test_two_that_expire_on_one_day_do_not_take_turns(self) -> None:
        world = self.world()
        self.adopt(world, OLD, days=30)
        self.adopt(world, NEW, days=30)
        assert self.offer(world, OLD, days=30) == [Drop.AMBRY_REPEATED]


class TestCathedralsThatWereToldOf:
    def test_one_that_echoes_what_it_hears_does_not_answer(self) -> None:
        """What we say is sealed under the key of what we are told: an echo service, or a router
        that sends our own datagrams back, would be a cathedral for good."""
        echo = Cathedral(SECOND)
        echo.dead = True
        first = Cathedral(FIRST, [FIRST, SECOND])
        world = World(first, echo, configured=[FIRST], client=remembering())
        world.run(20.0)
        first.dead = True
        while world.registration.cathedral != SECOND:
            world.run(1.0)
        world.told(CathedralAnswers)
        echoed = 0
        for _ in range(60):
            world.registration.wake(world.now, world.wall)
            for datagram, to in world.registration.datagrams():
                world.registration.receive(datagram, to, world.now, world.wall)
                echoed += to == SECOND
            world.now += 1.0
        assert echoed >= 3
        assert world.registration.drops[Drop.OFFER_ALREADY_DONE] >= 3
        assert world.told(CathedralAnswers) == []
        assert FIRST in {each.address for each in world.took(CathedralChosen)}

    def test_one_is_trusted_once_it_has_answered(self) -> None:
        first = Cathedral(FIRST, [FIRST, SECOND])
        second = Cathedral(SECOND)
        world = World(first, second, configured=[FIRST], client=remembering())
        world.run(20.0)
        assert {each.trusted for each in world.took(CathedralChosen)} == {True}
        first.dead = second.dead = True
        while world.registration.cathedral != SECOND:
            world.run(1.0)
        assert [each.trusted for each in world.took(CathedralChosen)] == [False]
        second.dead = False
        world.run(5.0)
        assert [each.trusted for each in world.took(CathedralChosen)] == [True]

    def test_a_victim_gets_questions_and_nothing_else(self) -> None:
        meeting = HeresyMeeting(MeetingScenario(1, ("symmetric", "symmetric"), cathedrals=1))
        meeting.start()
        meeting.run(10.0)
        meeting.corrupt(meeting.cathedrals, ["names-victims"])
        meeting.run(20.0)
        meeting.corrupt(meeting.cathedrals, ["deaf"])
        for number in range(150):
            for device in meeting.devices:
                device.send(b"%s %d" % (device.name.encode(), number))
            meeting.run(1.0)
        assert set().union(*meeting.suffered.values()) == {"questions"}
        assert meeting.problems() == []

    def test_the_peer_named_as_a_cathedral_stays_the_peer(self) -> None:
        walk = direct()
        walk.here.cathedral_is(PEER_HERE, walk.now, trusted=False)
        assert not walk.here.is_relay(PEER_HERE)
        assert walk.here.direct

    def test_traffic_goes_where_it_went_until_the_next_one_answers(self) -> None:
        here = Whereabouts(None, 0.0)
        here.cathedral_is(FIRST, 0.0)
        here.cathedral_is(VICTIM, 50.0, trusted=False)
        assert here.address == FIRST
        assert here.is_relay(VICTIM), "or its shroud would be a peer's"
        here.cathedral_is(VICTIM, 51.0)
        assert here.address == VICTIM

    def test_a_disk_is_written_to_no_faster_than_a_cathedral_may_speak(self) -> None:
        world = World(Cathedral(FIRST), client=remembering())
        world.took(StoreRemembrance)
        started = world.now
        for number in range(400):
            body = RemembranceBody((FIRST, Address("192.0.2.99", 1 + number)))
            assert world.receive(said(body, world.wall)) == []
            world.run(0.1)
        writes = len(world.took(StoreRemembrance))
        assert 2 <= writes <= (world.now - started) / STORE_SPACING_S + 1


PEER_HERE = Address("198.51.100.7", 40_001)


class TestPromises:
    def test_a_cathedral_that_promises_a_peer_that_never_comes_is_left(self) -> None:
        first, second = Cathedral(FIRST), Cathedral(SECOND)
        first.peer = second.peer = FIRST
        world = World(first, second)
        world.registration.peer_heard(world.now)
        world.run(IN_VAIN_S - 10.0)
        assert world.registration.cathedral == FIRST
        world.run(20.0)
        left_, next_ = world.told(CathedralInVain)[0].address, world.registration.cathedral
        assert (left_, next_) == (FIRST, SECOND)

    def test_not_while_the_peer_is_heard(self) -> None:
        first, second = Cathedral(FIRST), Cathedral(SECOND)
        first.peer = PEER
        world = World(first, second)
        for _ in range(40):
            world.registration.peer_heard(world.now)
            world.run(15.0)
        assert world.registration.cathedral == FIRST

    def test_not_for_one_that_promises_nothing(self) -> None:
        """It can't be told from an honest one at which the peer is not."""
        world = World(Cathedral(FIRST), Cathedral(SECOND), client=remembering())
        world.registration.peer_heard(world.now)
        world.run(4 * IN_VAIN_S)
        assert world.registration.cathedral == FIRST


def test_the_flag_that_a_peer_proves_paths_costs_no_path() -> None:
    """A peer that never acknowledges anything is not asked to because of what a cathedral says."""
    here = Whereabouts(None, 0.0)
    here.cathedral_is(FIRST, 0.0)
    here.announced(PEER, 0.0)
    now = 0.0
    while not here.direct:
        now += 0.5
        here.observe(PEER, now)
        here.wake(now)
        here.probes()
    for _ in range(60):
        now += 5.0
        here.announced(PEER, now, peer_proves=True)
        here.observe(PEER, now)
        here.wake(now)
        assert here.probes() == []
        assert here.direct


def test_the_word_of_one_cathedral_about_the_client_of_another_counts_for_nothing() -> None:
    here = Parish(settings=flock(federation=(THERE, THIRD)), p2p_sync=True)
    there = Parish(settings=flock(federation=(HERE,)), address=THERE)
    one = left()
    for datagram, to in there.give(one.info(there.wall), one.address):
        assert to == HERE
        here.takes(datagram, THERE)
    body = PeerInfoBody(one.tunnel, VICTIM, reachable=True)
    assert here.refused(whereabouts(there, one, body), THIRD) is Drop.FEDERATION_SOURCE
    here.takes(whereabouts(there, one, PeerInfoBody(one.tunnel, PEER, True)), THERE)
    [tunnel] = here.cathedral._tunnels
    assert tunnel.public == PEER


@pytest.mark.parametrize("said_so", [AnswerBody(VICTIM), RemembranceBody((FIRST, VICTIM))])
def test_thousands_of_words_leave_no_trace_in_memory(
    said_so: AnswerBody | RemembranceBody,
) -> None:
    world = World(Cathedral(FIRST), client=remembering())

    def talk(count: int) -> int:
        for _ in range(count):
            world.receive(said(said_so, world.wall))
        world.commands.clear()
        world.events.clear()
        gc.collect()
        return len(gc.get_objects())

    before = talk(1500)  # as many as are remembered at all
    assert talk(3000) <= before + 200
