"""Pilgrim and shrine as sessions: loss, restarts, replays, hours."""

from __future__ import annotations

import random

import pytest

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.keeper import Mode
from chancel.wire.drop import Drop
from tests.protocol.pair import Kind, Packet, Pair

ONE_WAY = (Mode.PILGRIM, Mode.SHRINE)
UP_S = 1.0
HOUR_S = 3600.0

shrouds = pytest.mark.parametrize("shroud", [False, True], ids=["plain", "shroud"])


def one_way(left: Behaviour = CHANCEL, right: Behaviour = CHANCEL, *, shroud: bool = False) -> Pair:
    return Pair(left, right, modes=ONE_WAY, right_knows_left=False, shroud=shroud, mtu=1300)


def is_up(pair: Pair) -> bool:
    return pair.works(pair.left)


def up(pair: Pair) -> Pair:
    assert pair.until(lambda: is_up(pair), UP_S) < UP_S
    return pair


@shrouds
def test_packets_go_one_way(shroud: bool) -> None:
    pair = up(one_way(shroud=shroud))
    assert pair.send(pair.left, b"forward")
    assert not pair.send(pair.right, b"back")
    pair.run(60.0)
    assert pair.right.received == [b"forward"]
    assert {packet.sender for packet in pair.log} == {pair.left}
    assert pair.status(pair.right).peer == pair.left.address
    assert pair.status(pair.right).heartbeat_age_s is not None
    assert pair.status(pair.right).drops.keys() <= {Drop.NO_PEER, Drop.NO_KEY}


@shrouds
@pytest.mark.parametrize("right", [CHANCEL, REFERENCE], ids=["chancel", "reference"])
def test_six_hours_of_keys_lose_nothing(right: Behaviour, shroud: bool) -> None:
    pair = up(one_way(right=right, shroud=shroud))
    spis, sent = set(), 0
    while pair.now < 6 * HOUR_S:
        sent += pair.send(pair.left, sent.to_bytes(4, "big"))
        pair.run(2.0)
        spis.add(pair.status(pair.left).send_spi)
    assert pair.right.received == [number.to_bytes(4, "big") for number in range(sent)]
    assert len(spis) == 7


def test_the_reference_s_own_rekey_loses_what_comes_before_its_announcement() -> None:
    """What :attr:`Behaviour.announce_ahead_s` is for; here the offer is the first on the wire."""
    pair = up(one_way(REFERENCE))
    pair.run(3499.0)
    pair.lose = lambda packet: packet.kind is Kind.KEY
    pair.run(3.0)
    assert pair.send(pair.left, b"lost")
    pair.lose = lambda packet: False
    pair.run(31.0)
    assert pair.send(pair.left, b"found")
    pair.run(1.0)
    assert pair.right.received == [b"found"]


@pytest.mark.parametrize("seed", range(5))
def test_loss(seed: int) -> None:
    """With 40% loss announcements get through before a key is used; packets are lost, no more."""
    rng = random.Random(seed)
    pair = one_way()
    pair.lose = lambda packet: rng.random() < 0.4
    pair.run(5 * HOUR_S)
    status = pair.status(pair.right)
    assert status.receive_spi == pair.status(pair.left).send_spi
    assert status.drops.get(Drop.UNKNOWN_SPI, 0) <= 15  # until the very first announcement


@shrouds
def test_a_pilgrim_that_starts_again_is_heard_at_once(shroud: bool) -> None:
    pair = up(one_way(shroud=shroud))
    pair.run(100.0)
    pair.left.start(pair.now)
    up(pair)
    pair.send(pair.left, b"again")
    pair.run(1.0)
    assert pair.right.received == [b"again"]


@shrouds
def test_a_shrine_that_starts_again_waits_for_the_next_announcement(shroud: bool) -> None:
    pair = up(one_way(shroud=shroud))
    pair.run(100.0)
    pair.right.start(pair.now)
    limit_s = 30.0 + 15.0 + UP_S
    assert pair.until(lambda: is_up(pair), limit_s) < limit_s


def test_replays_change_nothing() -> None:
    """All that was ever sent is sent again by somebody, in any order, for an hour."""
    rng = random.Random(7)
    pair = up(one_way())
    for number in range(150):
        pair.send(pair.left, number.to_bytes(2, "big"))
        pair.run(30.0)
    recorded = [packet.data for packet in pair.log]
    received = list(pair.right.received)
    assert len(received) == 150
    for number in range(60):
        for data in rng.sample(recorded, 200):
            pair.deliver(pair.right, data, pair.right.address)
        pair.send(pair.left, b"new" + bytes((number,)))
        pair.run(20.0)
    assert pair.right.received == received + [b"new" + bytes((number,)) for number in range(60)]
    assert pair.status(pair.right).peer == pair.left.address


def test_a_key_that_was_held_back_displaces_nothing() -> None:
    """Somebody on the path withholds all of a key, and lets it through once the next is in use."""
    pair = up(one_way())
    pair.run(3498.0)
    held: list[Packet] = []

    def hold(packet: Packet) -> bool:
        held.append(packet)
        return True

    pair.left.start(pair.now)
    pair.lose = hold
    pair.run(60.0)
    pair.send(pair.left, b"held back")
    pair.left.start(pair.now)
    pair.lose = lambda packet: False
    up(pair)
    for packet in held:
        pair.deliver(pair.right, packet.data)
    assert pair.right.received == [b"held back"]
    for number in range(60):
        pair.send(pair.left, bytes((number,)))
        pair.run(50.0)
    assert pair.right.received[1:] == [bytes((number,)) for number in range(60)]
