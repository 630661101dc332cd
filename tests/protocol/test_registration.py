"""A registration at one cathedral: what is said and when, and what is believed of the answers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LocalProtocolError, VaultError
from chancel.protocol.behaviour import KYRKA, REFERENCE
from chancel.protocol.events import MAX_EVENTS
from chancel.protocol.registration_events import (
    CathedralAnswers,
    CathedralClockSkew,
    Key,
    KeyUnavailable,
)
from chancel.protocol.registration_types import (
    CathedralChosen,
    PeerAnnounced,
    Registrant,
    StoreRemembrance,
)
from chancel.vault.secret import Secret
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OFFER_BYTES
from chancel.wire.remembrance import TABLE_BYTES, RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi
from tests.protocol.registration_world import (
    FIRST,
    FLOCKS,
    INSTANCE,
    LIMIT_S,
    NAT_PORT,
    NOW,
    PEER,
    SECOND,
    SECRET,
    TUNNEL,
    WALL,
    Cathedral,
    World,
    registrant,
    remembering,
    said,
)

ANSWER = AnswerBody(PEER)


@pytest.fixture
def world() -> World:
    return World(Cathedral(FIRST))


class Lockable:
    """A key that can be taken away."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.problem: str | None = None
        self.loads = 0

    def __call__(self) -> Secret:
        self.loads += 1
        if self.problem is not None:
            raise VaultError(self.problem)
        return Secret(self.key)


class TestWhatIsSaid:
    def test_an_info_at_start_and_every_five_seconds(self, world: World) -> None:
        world.run(20.0)
        assert [each.at - NOW for each in world.sent] == [0.0, 5.0, 10.0, 15.0, 20.0]
        assert {each.to for each in world.sent} == {FIRST}
        assert {each.info for each in world.sent} == {InfoBody(TUNNEL, INSTANCE, skips_ambry=True)}

    @pytest.mark.parametrize("peer", [None, PEER, FIRST], ids=["alone", "direct", "relayed"])
    def test_in_every_state(self, peer: Address | None) -> None:
        cathedral = Cathedral(FIRST)
        cathedral.peer = peer
        world = World(cathedral)
        world.run(200.0)
        assert len(world.sent) == 41

    def test_the_same_right_after_it_for_nat_detection(self) -> None:
        world = World(Cathedral(FIRST), client=registrant(nat_port=NAT_PORT))
        world.run(5.0)
        ways = [(CATHEDRAL.magic, FIRST), (NAT.magic, Address(FIRST.host, NAT_PORT))]
        assert [(each.magic, each.to) for each in world.sent] == ways * 2
        assert world.sent[0].info == world.sent[1].info

    def test_offers_are_bare_and_never_alike(self, world: World) -> None:
        world.registration.network_changed(world.now + 4)
        world.registration.wake(world.now + 4, world.wall + 4)
        ((first, _),) = world.registration.datagrams()
        world.registration.wake(world.now + 9, world.wall + 9)
        ((second, _),) = world.registration.datagrams()
        assert len(first) == len(second) == OFFER_BYTES
        assert first[28:92] != second[28:92]

    def test_who_remembers_asks_for_it(self) -> None:
        world = World(Cathedral(FIRST), client=remembering())
        assert world.infos[0].info.wants_remembrance

    def test_so_does_who_has_a_choice(self) -> None:
        world = World(Cathedral(FIRST), configured=[FIRST, SECOND])
        assert world.infos[0].info.wants_remembrance

    def test_who_has_a_kek_wants_ambries(self) -> None:
        world = World(Cathedral(FIRST), client=registrant(kek=lambda: Secret(SECRET)))
        assert not world.infos[0].info.skips_ambry

    def test_two_flocks(self) -> None:
        flocks = Flocks(FlockId(0xAAAAAA01), FlockId(0xBBBBBB01))
        world = World(Cathedral(FIRST), client=registrant(flocks=flocks))
        world.run(10.0)  # the cathedral checks what the header shows and the key
        assert len(world.infos) == 3


class TestNews:
    def test_a_receive_key_is_told_of_at_once(self, world: World) -> None:
        world.run(4.0)
        world.registration.report_keys(Spi(1), None, world.now)
        world.settle()
        assert [each.at - NOW for each in world.sent] == [0.0, 4.0]
        assert world.sent[-1].info.receiving == 1
        world.run(5.0)
        assert [each.at - NOW for each in world.sent] == [0.0, 4.0, 9.0]

    def test_a_new_one_even_out_of_turn_and_then_in_turn(self, world: World) -> None:
        world.run(1.0)
        world.registration.report_keys(Spi(1), Spi(2), world.now)
        world.settle()
        world.registration.report_keys(Spi(2), None, world.now)
        world.run(4.0)
        first, second, third = world.sent
        assert second.at == NOW + 1.0
        assert (second.info.receiving, second.info.pending) == (1, 2)
        assert LIMIT_S <= third.at - first.at < 4.0
        assert (third.info.receiving, third.info.pending) == (2, None)

    def test_an_info_out_of_turn_has_no_message_of_nat_detection(self) -> None:
        world = World(Cathedral(FIRST), client=registrant(nat_port=NAT_PORT))
        world.registration.report_keys(Spi(1), None, world.now)
        world.settle()
        assert [each.magic for each in world.sent] == [CATHEDRAL.magic, NAT.magic, CATHEDRAL.magic]

    @pytest.mark.parametrize("whole_seconds", [False, True])
    @pytest.mark.parametrize("after_s", [0.0, 0.7, 1.9, 2.7, 3.1])
    def test_other_cathedrals_hear_of_a_new_one_with_the_next_turn(
        self, whole_seconds: bool, after_s: float
    ) -> None:
        cathedral = Cathedral(FIRST)
        cathedral.whole_seconds = whole_seconds
        world = World(cathedral, now=NOW + 0.95)
        world.run(after_s)
        world.registration.report_keys(Spi(1), None, world.now)
        world.settle()
        assert world.sent[-1].info.receiving == 1
        world.run(3.3 - after_s)
        assert cathedral.passed_on[-1].receiving == 1

    def test_one_after_another_is_told_of_in_turn(self, world: World) -> None:
        world.run(1.0)
        world.registration.report_keys(Spi(1), None, world.now)
        world.settle()
        world.registration.report_keys(Spi(1), Spi(2), world.now)
        world.run(4.0)
        assert [each.at for each in world.sent] == pytest.approx([NOW, NOW + 1.0, NOW + 3.2])
        assert world.sent[-1].info.pending == 2
        world.run(10.0)
        world.registration.report_keys(Spi(2), Spi(3), world.now)
        world.settle()
        assert world.sent[-1].at == world.now

    def test_the_same_keys_are_no_news(self, world: World) -> None:
        for _ in range(10):
            world.run(1.0)
            world.registration.report_keys(None, None, world.now)
        assert [each.at - NOW for each in world.sent] == [0.0, 5.0, 10.0]

    def test_that_keys_are_gone_is_news(self, world: World) -> None:
        world.registration.report_keys(Spi(1), None, world.now)
        world.run(8.0)
        world.registration.report_keys(None, None, world.now)
        world.settle()
        assert world.sent[-1].info.receiving is None

    def test_another_instance(self, world: World) -> None:
        world.run(4.0)
        world.registration.renew_instance(InstanceId(9), world.now)
        world.settle()
        assert [each.info.instance for each in world.sent] == [INSTANCE, 9]

    def test_another_network(self, world: World) -> None:
        world.run(4.0)
        world.registration.network_changed(world.now)
        world.registration.network_changed(world.now)
        world.settle()
        assert [each.at - NOW for each in world.sent] == [0.0, 4.0]

    def test_a_clock_that_jumped_says_that_we_slept(self, world: World) -> None:
        world.run(4.0)
        world.wall_ahead_s += 60.0
        world.registration.wake(world.now, world.wall)
        world.settle()
        assert [each.at - NOW for each in world.sent] == [0.0, 4.0]

    def test_who_does_not_watch_the_clock_says_nothing(self) -> None:
        world = World(Cathedral(FIRST), behaviour=KYRKA)
        world.run(4.0)
        world.wall_ahead_s += 60.0
        world.registration.wake(world.now, world.wall)
        world.settle()
        assert len(world.sent) == 1

    def test_a_flood_of_news_stays_within_the_limit(self, world: World) -> None:
        for spi in range(1, 1001):
            world.run(0.02)
            world.registration.report_keys(Spi(spi), None, world.now)
            world.registration.network_changed(world.now)
            world.settle()  # the world refuses more haste than there is a reason for
        assert 7 <= len(world.sent) <= 9

    def test_a_late_wake_makes_up_for_nothing(self, world: World) -> None:
        world.now += 100.0
        world.settle()
        assert len(world.sent) == 2
        world.run(5.0)
        assert len(world.sent) == 3


class TestWhatIsBelieved:
    def test_where_the_peer_is(self, world: World) -> None:
        world.took(CathedralChosen)
        assert world.receive(said(ANSWER)) == []
        assert world.took(PeerAnnounced) == [PeerAnnounced(PEER, NOW)]
        assert world.told(CathedralAnswers) == [CathedralAnswers(FIRST)]

    def test_the_hint_of_one_network(self, world: World) -> None:
        world.receive(said(AnswerBody(FIRST, same_external_ipv4=True)))
        assert world.took(PeerAnnounced) == [PeerAnnounced(FIRST, NOW, same_external_ipv4=True)]

    def test_nothing_of_no_address(self, world: World) -> None:
        assert world.receive(said(AnswerBody(None))) == []
        assert world.took(PeerAnnounced) == []

    @pytest.mark.parametrize(
        "source", [SECOND, Address(FIRST.host, 4499)], ids=["elsewhere", "other port"]
    )
    def test_only_from_the_current_cathedral(self, world: World, source: Address) -> None:
        assert world.receive(said(ANSWER), source) == [Drop.CATHEDRAL_SOURCE]
        assert world.took(PeerAnnounced) == []

    def test_what_follows_an_offer_is_padding(self, world: World) -> None:
        assert world.receive(said(ANSWER) + bytes(800)) == []

    def test_nothing_shorter(self, world: World) -> None:
        assert world.receive(said(ANSWER)[:-1]) == [Drop.OFFER_TOO_SHORT]

    def test_nothing_under_another_key(self, world: World) -> None:
        datagram = bytearray(said(ANSWER))
        datagram[-1] ^= 1
        assert world.receive(bytes(datagram)) == [Drop.OFFER_BAD_TAG]

    def test_nothing_for_another_client(self, world: World) -> None:
        datagram = said(ANSWER, identity=CathedralId(5))
        assert world.receive(datagram) == [Drop.OFFER_IDENTITY]

    def test_no_liturgy(self, world: World) -> None:
        assert world.receive(said(LiturgyBody(1, 2))) == [Drop.OFFER_TYPE]

    def test_no_remembrance_unless_wanted(self, world: World) -> None:
        told = said(RemembranceBody((FIRST, SECOND)))
        assert world.receive(told) == [Drop.REMEMBRANCE_UNWANTED]
        assert world.took(StoreRemembrance) == []

    def test_the_very_same_packet_once(self, world: World) -> None:
        answer = said(ANSWER)
        assert world.receive(answer) == []
        assert world.receive(answer) == [Drop.OFFER_ALREADY_DONE]
        assert len(world.took(PeerAnnounced)) == 1

    def test_nothing_that_was_held_back(self, world: World) -> None:
        old, other, new = said(ANSWER, WALL - 1), said(ANSWER), said(ANSWER)
        assert [world.receive(each) for each in (new, other)] == [[], []]
        assert world.receive(old) == [Drop.OFFER_REPLAYED]

    def test_the_reference_believes_both(self) -> None:
        world = World(Cathedral(FIRST), behaviour=REFERENCE)
        old, new = said(ANSWER, WALL - 1), said(ANSWER)
        assert [world.receive(each) for each in (new, old, new)] == [[], [], []]

    def test_nothing_is_wrong_before_there_is_a_cathedral(self) -> None:
        world = World()
        assert world.registration.wake_at() is None
        assert world.receive(said(ANSWER)) == [Drop.CATHEDRAL_SOURCE]
        assert repr(world.registration) == "<Registration at no cathedral, <Silence 0 unanswered>>"


class TestClocks:
    @pytest.mark.parametrize("off", [-10, 10])
    def test_ten_seconds_are_in_time(self, world: World, off: int) -> None:
        assert world.receive(said(ANSWER, WALL + off)) == []
        assert world.registration.clock_skew_s == off

    @pytest.mark.parametrize("off", [-11, 11])
    def test_eleven_are_not_and_are_told_of(self, world: World, off: int) -> None:
        assert world.receive(said(ANSWER, WALL + off)) == [Drop.OFFER_TIME]
        assert world.receive(said(ANSWER, WALL + off)) == [Drop.OFFER_TIME]
        assert world.took(PeerAnnounced) == []
        assert world.told(CathedralClockSkew) == [CathedralClockSkew(off, refused=True)]
        assert world.registration.clock_skew_s == off

    @pytest.mark.parametrize("timestamp", [0, (1 << 64) - 1])
    def test_any_number_may_come(self, world: World, timestamp: int) -> None:
        assert world.receive(said(ANSWER, timestamp)) == [Drop.OFFER_TIME]

    def test_a_recorded_answer_tells_nothing_of_the_clock(self, world: World) -> None:
        world.receive(said(ANSWER))
        world.receive(said(ANSWER, WALL - 20))
        assert world.registration.clock_skew_s == 0
        assert world.told(CathedralClockSkew) == []

    def test_clocks_set_right_on_both_sides_cost_nothing(self, world: World) -> None:
        assert world.receive(said(ANSWER)) == []
        world.wall_ahead_s -= 3600.0
        assert world.receive(said(ANSWER, world.wall)) == []
        assert world.receive(said(ANSWER, world.wall - 1)) == [Drop.OFFER_REPLAYED]


class TestRemembrance:
    @pytest.fixture
    def world(self) -> World:
        return World(Cathedral(FIRST, [FIRST, SECOND]), client=remembering())

    def test_is_handed_over_as_the_file_has_it(self, world: World) -> None:
        (command,) = world.took(StoreRemembrance)
        assert command.cathedrals == (FIRST, SECOND)
        assert len(command.data) == TABLE_BYTES
        assert command.data[:8] == bytes((192, 0, 2, 1, 192, 0, 2, 2))
        assert command.data[128:132] == bytes((4500 >> 8, 4500 & 255)) * 2

    def test_again_only_after_a_while(self, world: World) -> None:
        world.run(590.0)
        assert len(world.took(StoreRemembrance)) == 1
        world.run(30.0)
        assert len(world.took(StoreRemembrance)) == 1

    def test_at_once_if_it_differs(self, world: World) -> None:
        world.took(StoreRemembrance)
        world.cathedrals[FIRST].remembers = (FIRST,)
        world.run(20.0)
        assert [each.cathedrals for each in world.took(StoreRemembrance)] == [(FIRST,)]

    def test_what_the_file_has_needs_no_writing(self) -> None:
        cathedral = Cathedral(FIRST, [FIRST, SECOND])
        cathedral.dead = True
        world = World(cathedral, client=remembering())
        world.registration.remembered([FIRST, SECOND], world.now)
        cathedral.dead = False
        world.run(30.0)
        assert world.told(CathedralAnswers)
        assert world.took(StoreRemembrance) == []

    def test_an_empty_one_erases_nothing(self, world: World) -> None:
        world.took(StoreRemembrance)
        assert world.receive(said(RemembranceBody(()))) == []
        assert world.took(StoreRemembrance) == []

    def test_a_file_is_not_for_who_does_not_remember(self) -> None:
        with pytest.raises(LocalProtocolError, match="don't read the file"):
            World(Cathedral(FIRST)).registration.remembered([FIRST], NOW)


class TestKeys:
    def test_a_key_that_is_missing_is_told_once_and_tried_again(self) -> None:
        key = Lockable(SECRET)
        key.problem = "cathedral.key: no such file"
        world = World(Cathedral(FIRST), client=registrant(secret=key))
        world.run(20.0)
        assert world.sent == []
        assert world.told(KeyUnavailable) == [KeyUnavailable(Key.SECRET, key.problem)]
        assert world.registration.drops == {Drop.NO_SECRET: 5}
        key.problem = None
        world.run(5.0)
        assert len(world.sent) == 1

    def test_a_missing_cosk(self) -> None:
        key = Lockable(bytes(64))
        key.problem = "cosk: no such file"
        world = World(Cathedral(FIRST), client=registrant(cosk=key))
        assert world.told(KeyUnavailable) == [KeyUnavailable(Key.COSK, key.problem)]
        assert world.sent == []

    def test_a_flood_costs_no_reads(self) -> None:
        key = Lockable(SECRET)
        world = World(Cathedral(FIRST), client=registrant(secret=key))
        for _ in range(100):
            world.receive(bytes(said(ANSWER)[:92]) + bytes(531))
        assert world.registration.drops[Drop.OFFER_BAD_TAG] == 100
        assert key.loads == 1

    def test_a_replaced_secret_takes_effect(self) -> None:
        key = Lockable(SECRET)
        world = World(Cathedral(FIRST), client=registrant(secret=key))
        key.key = bytes(32)
        world.now += 1.0
        assert world.receive(said(ANSWER)) == [Drop.OFFER_BAD_TAG]
        key.key = SECRET
        world.now += 1.0
        assert world.receive(said(ANSWER)) == []

    def test_a_secret_that_is_missing_when_an_answer_comes(self) -> None:
        key = Lockable(SECRET)
        world = World(Cathedral(FIRST), client=registrant(secret=key))
        key.problem = "gone"
        world.now += 1.0
        assert world.receive(said(ANSWER)) == [Drop.NO_SECRET]


@pytest.mark.parametrize(
    ("change", "said_"),
    [
        ({"identity": 0}, "identity"),
        ({"identity": 1 << 32}, "identity"),
        ({"flocks": Flocks(FLOCKS.own, FlockId(0))}, "our own twice"),
        ({"flocks": Flocks(FlockId(1 << 64), FLOCKS.own)}, "64 bits"),
        ({"tunnel": 0}, "tunnel"),
        ({"tunnel": 1 << 16}, "tunnel"),
        ({"nat_port": 1 << 16}, "port"),
        ({"nat_port": -1}, "port"),
    ],
)
def test_numbers_that_cannot_be(change: dict[str, object], said_: str) -> None:
    with pytest.raises(LocalProtocolError, match=said_):
        registrant(**change)


def test_no_key_shows() -> None:
    client = dataclasses.replace(registrant(), secret=lambda: Secret(SECRET))
    assert isinstance(client, Registrant)
    assert SECRET.hex() not in repr(client)
    assert repr(World(Cathedral(FIRST)).registration) == (
        "<Registration at 192.0.2.1:4500, <Silence 1 unanswered>>"
    )


@given(st.lists(st.binary(max_size=700)), st.booleans())
def test_no_bytes_raise(datagrams: list[bytes], known: bool) -> None:
    world = World(Cathedral(FIRST))
    for datagram in datagrams:
        world.registration.receive(datagram, FIRST if known else SECOND, world.now, world.wall)
        world.registration.receive(
            CATHEDRAL.magic + datagram.ljust(OFFER_BYTES), FIRST, world.now, world.wall
        )
    assert world.registration.drops.total() == 2 * len(datagrams)
    assert world.took(PeerAnnounced) == []


def test_events_that_nobody_takes_are_bounded() -> None:
    world = World(Cathedral(FIRST))
    registration = world.registration
    for number in range(2 * MAX_EVENTS):
        world.now += 40.0
        skewed = said(ANSWER, world.wall + 11 + 2 * number)
        registration.receive(skewed, FIRST, world.now, world.wall)
    count = 0
    while registration.next_event() is not None:
        count += 1
    assert count == MAX_EVENTS
