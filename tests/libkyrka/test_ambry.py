"""Two contexts and the cathedral that relays between them: the keys that come of ambries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from chancel.crypto import kdf
from chancel.crypto.kdf import Purpose
from chancel.crypto.system import SystemSuite
from chancel.protocol.offers import open_exchange_offer_untrusted
from chancel.protocol.shroud import Shroud
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.types import FlockId, Flocks
from tests.libkyrka.cathedral import LEFT, RIGHT, Client, Member, Parish, context_of
from tests.libkyrka.ends import CLEARED, ERASED, NO_KEYS, SUITE, Clock, DrawingSuite, Told, logged
from tests.libkyrka.test_refusals import refusal

FIRST, SECOND = bytes(range(32)), bytes(range(1, 33))
NEW_AMBRY = (3, {"reason": "new ambry"})
NOT_SHARED = logged("unable to renegotiate with peer 75 seconds after ambry swap, clearing keys")
ABROAD = FlockId(0xDEADBE07)


def ambry(generation: int) -> Told:
    return 5, {"ambry": generation}


class World:
    """A parish and its clock; ``up`` has keys, by the first ambry."""

    def __init__(
        self,
        left: Client = LEFT,
        right: Client = RIGHT,
        *,
        shroud: bool = False,
        suite: SystemSuite = SUITE,
    ) -> None:
        """``suite`` is the left one's."""
        self.clock = Clock()
        self.left, self.right = self.both = (
            Member(context_of(self.clock, suite), left, self.clock.wall, shroud=shroud),
            Member(context_of(self.clock), right, self.clock.wall, shroud=shroud),
        )
        self.parish = Parish(*self.both)

    def turn(self, turns: int = 1) -> list[list[int]]:
        """Seconds at one call each."""
        counts = []
        for _ in range(turns):
            counts.append(self.parish.turn())
            self.clock.now += 1
        return counts

    def up(self) -> World:
        for member in self.both:
            member.given(1, FIRST)
        self.turn(3)
        self.parish.talk()
        self.turn()
        for member in self.both:
            assert member.told()[-1] == CLEARED
            member.heard.clear()
        return self

    def spis(self) -> list[int]:
        """Both receive SPIs, as the cathedral is told them."""
        for member in self.both:
            member.context.cathedral_notify()
        infos = [member.infos()[-1] for member in self.both]
        assert all(info.receiving == info.pending for info in infos)
        return [info.receiving or 0 for info in infos]


def crossing() -> tuple[Client, Client]:
    """Two clients of different flocks."""
    flocks = Flocks(LEFT.flocks.own, ABROAD)
    back = Flocks(ABROAD, LEFT.flocks.own)
    return dataclasses.replace(LEFT, flocks=flocks), dataclasses.replace(RIGHT, flocks=back)


WORLDS: dict[str, Callable[[], World]] = {
    "bare": World,
    "shrouded": lambda: World(shroud=True),
    "crossing": lambda: World(*crossing()),
    "crossing, shrouded": lambda: World(*crossing(), shroud=True),
}


@pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
def test_an_ambry_each_is_a_tunnel(make: Callable[[], World]) -> None:
    world = make()
    for member in world.both:
        assert refusal(member.context.key_manage) == 11
        assert member.given(1, FIRST)[-1] == ambry(1)
        member.told()
    assert world.turn(3) == [[0, 0], [4, 4], [8, 8]]
    for member in world.both:
        installed = [info for event, info in member.told() if event == 1]
        assert [bool(info["tx"]) for info in installed] == [False, True]
    assert [spi >> 16 for spi in world.spis()] == [0xCAFE, 0xFECA]
    world.parish.talk()
    assert [member.heard for member in world.both] == [[(b"ping", 1)], [(b"ping", 1)]]


def test_the_cathedral_and_the_peer_hear_of_one_instance() -> None:
    world = World()
    world.left.given(1, FIRST)
    for _ in range(2):
        world.left.context.key_manage()
    world.left.context.cathedral_notify()
    base = kdf.base_key(SUITE, Purpose.PEER_OFFER, FIRST, LEFT.flocks)
    offers = [open_exchange_offer_untrusted(SUITE, base, offer) for offer in world.left.sent]
    assert {offer.body.id for offer in offers} == {world.left.infos()[0].instance}


def test_flocks_are_mirrored() -> None:
    """What comes from another flock than it should is dropped, with the right key and SPI."""
    world = World(*crossing()).up()
    world.left.context.heaven_input(b"x")
    (packet,) = world.left.sent
    assert packet[16:32] == bytes.fromhex("00000000cafeba05 00000000deadbe07")
    world.left.sent = [packet[:16] + packet[24:32] + packet[16:24] + packet[32:]]
    world.parish.carry()
    assert world.right.heard == []
    assert world.right.context.drops()["flock-mismatch"] == 1


@pytest.mark.parametrize("shroud", [False, True], ids=["bare", "shrouded"])
def test_a_new_ambry_makes_new_keys(shroud: bool) -> None:
    """Only what is under way while the one receive key is replaced gets lost."""
    world = World(shroud=shroud).up()
    left, right = world.both
    old = world.spis()
    for second in range(12):
        if second == 2:
            assert left.given(2, SECOND) == [ambry(2)]
        if second == 6:
            assert right.given(2, SECOND) == [ambry(2)]
        world.turn()
        world.parish.talk(b"%d" % second)
    assert not set(world.spis()) & set(old)
    for member in world.both:
        heard = [int(data) for data, _ in member.heard]
        assert [second for second in range(12) if second not in heard] in ([], [6])
        told = [each for each in member.told() if each[0] is not None]
        assert told[0] == NEW_AMBRY
        assert told[-1] == CLEARED
        assert [event for event, _ in told[1:-1]].count(1) >= 2


@pytest.mark.parametrize("ambries", [1, 2])
def test_an_ambry_is_no_reason_while_there_are_no_keys(ambries: int) -> None:
    world = World()
    for generation in range(ambries):
        world.left.given(1 + generation, FIRST)
    world.left.context.key_manage()
    assert world.left.told() == [NO_KEYS]


def test_a_peer_without_the_new_ambry_is_cut_off_after_75_seconds() -> None:
    """It was revoked, or finds no cathedral. Until then the old keys are good."""
    world = World().up()
    left, right = world.both
    left.given(2, SECOND)
    for _ in range(75):
        world.turn()
        world.parish.talk()
    assert [len(member.heard) for member in world.both] == [75, 75]
    assert {each for event, info in left.told() for each in info.values()} == {
        "new ambry",
        "key offer cleared",
    }
    world.turn()
    told = left.told()
    assert NOT_SHARED in told
    assert told[-1] == NO_KEYS
    assert ERASED not in told
    assert refusal(left.context.heaven_input, b"x") == 8
    assert right.told() == []
    right.given(2, SECOND)
    world.turn(4)
    world.parish.talk()
    assert [len(member.heard) for member in world.both] == [76, 76]


def test_a_new_ambry_ends_a_running_exchange() -> None:
    """Which the reference first lets run out, so that its new keys are late by half a minute."""
    world = World()
    for member in world.both:
        member.given(1, FIRST)
    world.turn(2)
    for member in world.both:
        member.told()
        member.given(2, SECOND)
    world.turn(4)
    world.parish.talk()
    assert [member.heard for member in world.both] == [[(b"ping", 1)], [(b"ping", 1)]]
    for member in world.both:
        told = member.told()
        assert told[0] == CLEARED
        assert told[1] == NEW_AMBRY


def test_an_ambry_replaces_a_secret_that_was_loaded() -> None:
    world = World()
    for member in world.both:
        member.context.secret_load(FIRST)
    world.turn(3)
    world.parish.talk()
    world.turn()
    for member in world.both:
        assert member.told()[-1] == CLEARED
        member.given(2, SECOND)
    world.turn(3)
    world.parish.talk()
    assert [len(member.heard) for member in world.both] == [2, 2]


class TestShroud:
    def test_what_is_logged(self) -> None:
        world = World(shroud=True)
        left = world.left
        left.context.cathedral_notify()
        assert left.told() == [logged("shroud cathedral key created")]
        left.given(1, FIRST)
        for _ in range(2):
            left.context.key_manage()
        assert left.told() == [logged("shroud peer key created"), NO_KEYS]
        left.given(2, SECOND)
        left.context.key_manage()
        assert logged("shroud peer key created") in left.told()

    def test_the_mark_changes_after_five_minutes(self) -> None:
        world, marks = World(shroud=True), list[bytes]()
        for _ in range(7):
            world.left.context.cathedral_notify()
            ((_, packet),) = world.left.asked
            assert len(world.left.requests()) == 1
            marks.append(packet[:32])
            world.clock.now += 100
        assert [marks.index(mark) for mark in marks] == [0, 0, 0, 3, 3, 3, 6]

    def test_nothing_else_repeats(self) -> None:
        world = World(shroud=True).up()
        for _ in range(20):
            world.left.context.heaven_input(b"x", 1)
        assert len({packet[:32] for packet in world.left.sent}) == 1
        assert len({packet[32:48] for packet in world.left.sent}) == 20

    def test_offers_go_to_the_peer_once_it_is_direct(self) -> None:
        world = World(shroud=True)
        left = world.left
        left.given(1, FIRST)
        left.context.p2p_active(True)
        left.context.key_manage()
        left.context.key_manage()
        key = kdf.peer_shroud_key(SUITE, FIRST, LEFT.flocks)
        base = kdf.base_key(SUITE, Purpose.PEER_OFFER, FIRST, LEFT.flocks)
        for datagram in left.sent:
            open_exchange_offer_untrusted(SUITE, base, Shroud(key, SUITE).unwrap(datagram))
        assert len(left.sent) == 4

    def test_either_selector_works_both_ways(self) -> None:
        world = World(shroud=True).up()
        left, right = world.both
        left.context.heaven_input(b"direct", 2)
        right.context.purgatory_input(left.sent.pop(), 2)
        left.context.heaven_input(b"relayed", 1)
        world.parish.carry()
        assert [data for data, _ in right.heard] == [b"direct", b"relayed"]

    def test_what_wears_the_other_mask_is_dropped(self) -> None:
        world = World(shroud=True).up()
        left, right = world.both
        before = sum(right.context.drops().values())
        for _ in range(10):
            left.context.heaven_input(b"x", 2)
        for packet in left.sent:
            right.context.purgatory_input(packet, 1)
        assert right.heard == []
        assert sum(right.context.drops().values()) == before + 10

    def test_towards_the_cathedral_there_must_be_one(self) -> None:
        context = context_of(Clock())
        context.shroud_enable()
        context.secret_load(FIRST)
        context.cathedral_configure(send=print, **LEFT.keywords())
        context.key_manage()
        assert refusal(context.key_manage) == "error '17' not found"
        assert refusal(context.cathedral_notify) == 11


def test_another_tunnel_begins_without_keys() -> None:
    world = World().up()
    left = world.left
    drops = left.context.drops()
    changed = {**LEFT.keywords(), "tunnel": 0xCA01}
    left.context.cathedral_configure(send=left.note, udata=None, **changed)
    assert left.told() == [ERASED]
    assert refusal(left.context.heaven_input, b"x") == 8
    assert left.context.drops() == drops
    assert left.context.key_manage() is True
    assert left.told() == [NO_KEYS]


@pytest.mark.parametrize("magic", [b"KATEDRAL", b"SACRAMNT"])
def test_traffic_whose_spi_looks_like_a_magic(magic: bytes) -> None:
    """The tunnel number begins the SPI, and is anybody's choice."""
    left = dataclasses.replace(LEFT, tunnel=TunnelId(int.from_bytes(magic[:2], "big")))
    world = World(left, suite=DrawingSuite(spi=magic[:4]))
    for member in world.both:
        member.given(1, FIRST)
    world.turn(3)
    assert world.spis()[0] == int.from_bytes(magic[:4], "big")
    world.parish.talk()
    assert [len(member.heard) for member in world.both] == [1, 1]
    world.left.context.purgatory_input(magic + bytes(615))
    assert world.left.context.drops()["offer-bad-tag"] == 1
