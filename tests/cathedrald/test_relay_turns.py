"""Compiled turns relay what Python would, by the ways that it told them; all else is left to it."""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chancel.cathedrald.relay import Relay
from chancel.daemon.hot import twins
from chancel.protocol.cathedral.route import Route
from chancel.wire.types import Address
from tests.cathedrald.scene import Brain, Receiver, Scene, Sender, packet, packets

pytestmark = pytest.mark.skipif(
    twins.module() is None,
    reason="needs cargo: `make setup` builds chancel_accel where it is found",
)

TRAIN = 40
SOON_S = 0.05


class Routes(Brain):
    """Knows real routes by SPI."""

    def lead(self, spi: int, to: Address, *, mbit: int = 0, federated: bool = False) -> Route:
        way = Route(to, self.relayed, mbit)
        way.federated = federated
        self.ways[spi] = way  # type: ignore[assignment]
        self.relayed.changes += 1
        return way

    def route(self, head: bytes, source: Address) -> Route | None:  # type: ignore[override]
        self.asked += 1
        way: Route | None = self.ways.get(struct.unpack_from("!I", head)[0])  # type: ignore[assignment]
        return None if way is not None and way.returns_to(source) else way


class Turning(Scene):
    """A relay that waits as its process does; ``python`` counts how often turns left it work."""

    def __init__(self) -> None:
        super().__init__()
        self.brain = self.routes = Routes()
        self.relay = Relay(self.brain, self.main.socket, gso=True, shroud=False)  # type: ignore[arg-type]
        self.shortened = self.relay.shorten([self.main.socket])
        self.routes.lead(1, self.one.address)
        self.routes.lead(2, self.other.address)
        self.left = 0
        self._epoll = select.epoll()
        self._epoll.register(self.main.socket, select.EPOLLIN)

    def work(self) -> None:
        if not self.shortened:
            super().work()
            return
        while self._epoll.poll(0):
            given = self.relay.given
            ready, _ = self.relay.turn(self._epoll.fileno(), time.monotonic() + SOON_S, (0.0, 0.0))
            self.left += self.relay.given != given
            for fd, _ in ready:
                assert fd == self.main.socket.fileno()
                self.relay.receive(self.main.socket)

    def close(self) -> None:
        self._epoll.close()
        super().close()


@contextmanager
def turning(names: tuple[str, ...] = twins.NAMES) -> Iterator[Turning]:
    before = twins.used()
    twins.use(names)
    try:
        made = Turning()
        yield made
        made.close()
    finally:
        twins.use(before)


@pytest.fixture
def scene() -> Iterator[Turning]:
    with turning() as made:
        assert made.shortened
        yield made


def test_a_way_is_learnt_once_and_then_nobody_is_asked(scene: Turning) -> None:
    for number in range(5):
        scene.sender.train(*packets(TRAIN))
        scene.work()
        assert scene.one.packets() == packets(TRAIN)
        assert scene.brain.asked == 1, number
    assert scene.brain.relayed.packets_out == 5 * TRAIN
    assert scene.relay.calls == scene.relay.sender.calls == 5


def test_a_change_of_any_way_is_a_reason_to_ask_again(scene: Turning) -> None:
    for _ in range(2):
        scene.sender.train(*packets(TRAIN))
        scene.work()
    asked = scene.brain.asked
    scene.routes.lead(1, scene.other.address)
    scene.sender.train(*packets(TRAIN))
    scene.work()
    assert scene.brain.asked == asked + 1
    assert scene.one.packets() == packets(TRAIN) * 2
    assert scene.other.packets() == packets(TRAIN)


def test_a_limit_is_python_s_from_the_moment_it_is_set(scene: Turning) -> None:
    scene.sender.train(*packets(TRAIN))
    scene.work()
    way = scene.routes.lead(1, scene.one.address)
    for _ in range(2):
        scene.sender.train(*packets(TRAIN))
        scene.work()
    way.set_limit(1)
    for _ in range(10):
        scene.sender.train(*packets(TRAIN))
        scene.work()
    passed = len(scene.one.packets()) - 3 * TRAIN
    assert 90 < passed < 10 * TRAIN, "an eighth of a mebibyte, and what drains meanwhile"


def test_nothing_goes_back_to_the_cathedral_it_came_from(scene: Turning) -> None:
    scene.routes.lead(3, scene.sender.address, federated=True)
    second = Sender(Address(*scene.main.socket.getsockname()))
    for _ in range(3):
        second.train(*packets(4, 3))
        scene.work()
    second.socket.close()
    assert scene.brain.given == []
    scene.sender.train(*packets(4, 3))
    scene.work()
    assert [each for each, _ in scene.brain.given] == packets(4, 3)


def test_a_closed_receiver_is_no_reason_to_stop(scene: Turning) -> None:
    gone = Receiver()
    scene.routes.lead(3, gone.address)
    gone.socket.close()
    for _ in range(3):
        scene.sender.singly(packet(3))
        scene.work()
        scene.sender.train(*packets(TRAIN))
        scene.work()
    assert scene.one.packets() == packets(TRAIN) * 3


def test_what_can_not_be_sent_is_counted(scene: Turning) -> None:
    scene.routes.lead(3, Address("255.255.255.255", 9))
    for _ in range(3):
        scene.sender.train(*packets(10, 3))
        scene.work()
    assert sum(scene.relay.sender.drops.values()) == 30
    assert scene.relay.sender.error
    assert scene.relay.sender.datagrams == 0


class Burst(NamedTuple):
    """What is sent at once: datagrams of one size, the last one maybe shorter."""

    spis: list[int]
    size: int
    last: int
    singly: bool

    def packets(self) -> list[bytes]:
        made = [packet(spi, number, self.size) for number, spi in enumerate(self.spis)]
        return [*made[:-1], made[-1][: self.last]]


bursts = st.builds(
    Burst,
    st.lists(st.sampled_from([1, 1, 1, 2, 3, 4, 9]), min_size=1, max_size=30),
    st.sampled_from([51, 60, 700, 1400, 1522, 1600]),
    st.integers(1, 1600),
    st.booleans(),
)


@given(rounds=st.lists(st.lists(bursts, min_size=1, max_size=4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_turns_relay_and_count_what_python_does(rounds: list[list[Burst]]) -> None:
    outcomes = []
    for names in ((), twins.NAMES):
        with turning(names) as scene:
            assert scene.shortened == bool(names)
            scene.routes.lead(3, scene.one.address)
            scene.routes.lead(4, scene.sender.address, federated=True)
            for sent in rounds:
                for burst in sent:
                    send = scene.sender.singly if burst.singly else scene.sender.train
                    send(*burst.packets())
                scene.work()
            relay, relayed = scene.relay, scene.brain.relayed
            outcomes.append(
                (
                    by_way(scene.one.packets()),
                    by_way(scene.other.packets()),
                    [datagram for datagram, _ in scene.brain.given],
                    (relay.datagrams, relay.octets, relay.sender.datagrams, relay.sender.bytes),
                    (relayed.packets_in, relayed.packets_out, relayed.octets),
                )
            )
    assert outcomes[0] == outcomes[1]


def by_way(came: list[bytes]) -> dict[bytes, list[bytes]]:
    """In their order, as far as they belong together."""
    found: dict[bytes, list[bytes]] = {}
    for each in came:
        found.setdefault(each[:4], []).append(each)
    return found
