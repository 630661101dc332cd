"""Trains in, trains out: what is relayed with how many system calls, in which order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from chancel.cathedrald import relay
from chancel.cathedrald.relay import MEMORY_BYTES, MOST_CALLS
from chancel.wire.types import Address
from tests.cathedrald.scene import SIZE, Scene, Sender, Way, packet, packets


@pytest.fixture(params=[0.0, math.inf], ids=["alone", "busy"])
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Trains are taken one by one, or a round goes on as long as something waits."""
    monkeypatch.setattr(relay, "BUSY_S", request.param)
    made = Scene()
    made.is_alone = not request.param
    yield made
    made.close()


class TestTrains:
    def test_one_comes_in_and_goes_out_with_one_call_each(self, scene: Scene) -> None:
        sent = packets(40)
        scene.sender.train(*sent)
        scene.work()
        assert scene.one.packets() == sent
        assert (scene.relay.calls, scene.relay.sender.calls, scene.brain.asked) == (1, 1, 1)
        assert (scene.relay.datagrams, scene.relay.octets) == (40, 40 * SIZE)
        assert scene.brain.given == []

    def test_many_cost_two_calls_each_however_long_they_are(self, scene: Scene) -> None:
        sent = []
        for size in (200, 700, 1400):
            for _ in range(3):
                sent += (train := packets(40, size=size))
                scene.sender.train(*train)
        scene.work()
        assert scene.one.packets() == sent
        assert scene.relay.calls == scene.brain.asked == 9
        assert scene.relay.sender.calls <= 9

    def test_the_last_may_be_shorter(self, scene: Scene) -> None:
        sent = [*packets(10), packet(number=10, size=500)]
        scene.sender.train(*sent)
        scene.work()
        assert scene.one.packets() == sent
        assert scene.relay.sender.calls == 1

    def test_nothing_is_joined_behind_a_shorter_one(self, scene: Scene) -> None:
        first = [*packets(5), packet(number=5, size=500)]
        scene.sender.train(*first)
        scene.sender.train(*packets(5))
        scene.work()
        assert scene.one.packets() == first + packets(5)
        assert scene.relay.sender.calls == 2

    def test_one_with_traffic_of_several_tunnels_parts(self, scene: Scene) -> None:
        sent = packets(5, 1) + packets(7, 2) + packets(3, 1)
        scene.sender.train(*sent)
        scene.work()
        assert scene.one.packets() == packets(5, 1) + packets(3, 1)
        assert scene.other.packets() == packets(7, 2)
        assert (scene.relay.calls, scene.relay.sender.calls) == (1, 3)
        assert scene.brain.asked == 3 + scene.is_alone, "first for the train as a whole"

    @pytest.mark.parametrize("flock", [0xCAFEBA01, 0xCAFEBA00 << 24])
    def test_each_field_that_names_the_way_is_compared(self, scene: Scene, flock: int) -> None:
        scene.sender.train(packet(1), packet(1, flock=flock), packet(1))
        scene.work()
        assert scene.brain.asked == 3 + scene.is_alone
        assert len(scene.one.packets()) == 3

    def test_more_than_the_memory_holds(self, scene: Scene) -> None:
        sent = packets(40)
        trains = 3 * MEMORY_BYTES // (40 * SIZE)
        for _ in range(trains):
            scene.sender.train(*sent)
        scene.work()
        assert scene.one.packets() == sent * trains
        assert scene.relay.sender.calls <= trains * 2  # of 64 datagrams at most


class TestSingles:
    def test_neighbours_leave_as_a_train(self, scene: Scene) -> None:
        sent = packets(40)
        scene.sender.singly(*sent)
        scene.work()
        assert scene.one.packets() == sent
        assert scene.relay.sender.calls == 1

    def test_those_of_different_senders_too(self, scene: Scene) -> None:
        second = Sender(Address(*scene.main.socket.getsockname()))
        for number in range(10):
            scene.sender.singly(packet(number=number))
            second.singly(packet(number=number))
        scene.work()
        second.socket.close()
        assert len(scene.one.packets()) == 20
        assert scene.relay.sender.calls == 1

    def test_order_stays_whatever_the_sizes(self, scene: Scene) -> None:
        sent = [packet(1, number, 100 + number * 37 % 500) for number in range(50)]
        scene.sender.singly(*sent)
        scene.work()
        assert scene.one.packets() == sent

    def test_other_ways_are_kept_apart(self, scene: Scene) -> None:
        sent = [packet(1 + number % 2, number) for number in range(10)]
        scene.sender.singly(*sent)
        scene.work()
        assert scene.one.packets() == sent[0::2]
        assert scene.other.packets() == sent[1::2]

    def test_a_round_ends(self, scene: Scene) -> None:
        sent = packets(MOST_CALLS + 10, size=60)
        scene.sender.singly(*sent)
        scene.relay.receive(scene.main.socket)
        assert scene.one.packets() == sent[:MOST_CALLS]
        scene.relay.receive(scene.main.socket)
        assert scene.one.packets() == sent[MOST_CALLS:]


class TestLimits:
    @pytest.mark.parametrize("room", [0, 1, 7, 39, 40])
    def test_the_first_of_a_train_pass(self, scene: Scene, room: int) -> None:
        scene.brain.ways[1] = Way(scene.one.address, room)
        scene.sender.train(*packets(40))
        scene.work()
        assert scene.one.packets() == packets(40)[:room]

    def test_what_is_dropped_leaves_no_hole(self, scene: Scene) -> None:
        scene.brain.ways[1] = Way(scene.one.address, 3)
        scene.sender.train(*packets(5, 1), *packets(5, 2))
        scene.sender.train(*packets(5, 2))
        scene.work()
        assert scene.one.packets() == packets(3)
        assert scene.other.packets() == packets(5, 2) * 2


class TestTheBrain:
    def test_gets_what_has_no_way_one_by_one(self, scene: Scene) -> None:
        strange = packets(3, 9)
        scene.sender.train(*packets(2, 1), *strange, *packets(2, 1))
        scene.work()
        assert scene.brain.given == [(each, scene.sender.address) for each in strange]
        assert scene.one.packets() == packets(2) * 2

    @pytest.mark.parametrize("size", [1, 31, 49, 1523, 60_000])
    def test_gets_what_is_too_short_or_too_long(self, scene: Scene, size: int) -> None:
        datagram = packet(1)[:size].ljust(size, b"x")
        scene.sender.singly(datagram)
        scene.work()
        assert scene.brain.given == [(datagram, scene.sender.address)]
        assert scene.brain.asked == 0

    def test_gets_the_short_end_of_a_train(self, scene: Scene) -> None:
        end = packet(1)[:40]
        scene.sender.train(*packets(3), end)
        scene.work()
        assert scene.one.packets() == packets(3)
        assert scene.brain.given == [(end, scene.sender.address)]

    def test_gets_everything_under_a_shroud(self) -> None:
        scene = Scene(shroud=True)
        sent = [*packets(3), packet(number=3, size=99)]
        scene.sender.train(*sent)
        scene.work()
        assert [datagram for datagram, _ in scene.brain.given] == sent
        assert scene.brain.asked == 0
        scene.close()

    def test_what_it_passes_on_stays_before_what_follows_on_the_way_it_learnt(
        self, scene: Scene
    ) -> None:
        scene.brain.learns = {3: Way(scene.one.address)}
        sent = [packet(1), *packets(3, 3), *packets(40, 3), packet(1, 1)]
        scene.sender.train(sent[0])
        scene.sender.train(*sent[1:4])
        scene.sender.train(*sent[4:44])
        scene.sender.train(sent[44])
        scene.work()
        assert scene.one.packets() == sent
        assert [datagram for datagram, _ in scene.brain.given] == sent[1:4]

    def test_answers_leave_after_the_round(self, scene: Scene) -> None:
        scene.brain.answers = [(b"a" * 623, scene.one.address), (b"b" * 99, scene.other.address)]
        scene.sender.singly(packet(9))
        scene.work()
        assert scene.one.packets() == [b"a" * 623]
        assert scene.other.packets() == [b"b" * 99]


def test_without_trains_of_the_kernel_each_packet_leaves_alone() -> None:
    scene = Scene(gso=False)
    scene.sender.train(*packets(10))
    scene.work()
    assert scene.one.packets() == packets(10)
    assert scene.relay.sender.calls == 10
    scene.close()


def test_refusals_of_the_network_are_counted_and_not_raised(scene: Scene) -> None:
    scene.brain.ways[1] = Way(Address("255.255.255.255", 9))
    scene.sender.singly(packet(1))
    scene.work()
    assert sum(scene.relay.sender.drops.values()) == 1
    assert scene.relay.sender.error
    scene.sender.train(*packets(10))
    scene.work()
    assert sum(scene.relay.sender.drops.values()) == 11
    assert scene.relay.sender.datagrams == 0
