"""Two sessions find each other, talk, restart, move and lose packets."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.events import (
    ClockJumped,
    ExchangePaused,
    ExchangeStarted,
    MtuChanged,
    MtuNotFound,
    PathChanged,
    PeerRestarted,
    PeerUnresponsive,
    Reason,
)
from chancel.protocol.profile import CURRENT
from chancel.protocol.states import State
from chancel.wire.drop import Drop
from chancel.wire.types import Address, FlockId, Flocks, Spi
from tests.protocol.pair import LATENCY_S, End, Kind, Pair

BEHAVIOURS = list(itertools.product((CHANCEL, REFERENCE), repeat=2))
NAMES = ["-".join("ours" if b is CHANCEL else "reference" for b in pair) for pair in BEHAVIOURS]
every_pairing = pytest.mark.parametrize(("left", "right"), BEHAVIOURS, ids=NAMES)


def connected(left: Behaviour = CHANCEL, right: Behaviour = CHANCEL) -> Pair:
    pair = Pair(left, right)
    pair.until(pair.up, 10)
    assert pair.up()
    return pair


@every_pairing
def test_an_exchange_completes_and_packets_arrive(left: Behaviour, right: Behaviour) -> None:
    pair = Pair(left, right)
    assert pair.until(pair.up, 10) < 3.1
    assert pair.send(pair.left, b"to the right")
    assert pair.send(pair.right, b"to the left")
    pair.run(1)
    assert (pair.left.received, pair.right.received) == ([b"to the left"], [b"to the right"])


def test_between_our_own_an_exchange_takes_two_round_trips() -> None:
    pair = Pair()
    assert pair.until(pair.up, 10) <= 4 * LATENCY_S + 0.001


def test_idle_ends_are_silent_but_for_heartbeats() -> None:
    pair = connected()
    pair.run(60)
    pair.log.clear()
    pair.run(3000)
    assert {packet.kind for packet in pair.log} == {Kind.TRAFFIC}
    assert len(pair.log) == 2 * 3000 / 15
    assert not any(end.session.drops for end in pair.ends)


@pytest.mark.parametrize("seed", range(8))
def test_whichever_side_has_the_larger_id_the_keys_agree(seed: int) -> None:
    pair = Pair()
    assert pair.until(pair.up, 5) < 1, "ids are random: both orders occur"


@given(st.frozensets(st.integers(0, 60), max_size=40))
@settings(max_examples=30)
def test_the_loss_of_any_packets_delays_and_never_prevents(lost: frozenset[int]) -> None:
    pair = Pair()
    count = itertools.count()
    pair.lose = lambda packet: next(count) in lost
    assert pair.until(pair.up, 60) < 20


@pytest.mark.parametrize("seed", range(6))
def test_with_a_third_of_all_packets_lost_it_comes_up_and_stays(seed: int) -> None:
    pair, rng = Pair(), random.Random(seed)
    pair.lose = lambda packet: rng.random() < 0.3
    assert pair.until(pair.up, 120) < 30
    pair.run(120)
    assert pair.up()


def test_fragments_in_any_order_and_twice_make_the_same_key() -> None:
    pair, rng = Pair(), random.Random(1)
    pair.lose = lambda packet: packet.kind is not Kind.TRAFFIC
    pair.run(0.5)
    held = [packet for packet in pair.log if packet.sender is pair.left] * 2
    rng.shuffle(held)
    pair.lose = lambda packet: False
    for packet in held:
        pair.deliver(pair.right, packet.data)
    assert pair.until(pair.up, 5) < 1


@every_pairing
def test_a_restarted_end_is_back_within_four_seconds(left: Behaviour, right: Behaviour) -> None:
    pair = connected(left, right)
    for end in (pair.left, pair.right):
        pair.run(40)
        old_spi = pair.status(end).receive_spi
        end.start(pair.now)
        assert pair.until(functools.partial(renewed, pair, old_spi), 10) < 4
        assert end.peer.happened(PeerRestarted)


def renewed(pair: Pair, old_spi: int) -> bool:
    return pair.up() and old_spi not in {pair.status(end).send_spi for end in pair.ends}


@pytest.mark.parametrize("after_packets", range(1, 17))
def test_an_end_restarted_in_the_middle_of_an_exchange_completes_the_next(
    after_packets: int,
) -> None:
    pair = Pair()
    pair.until(lambda: len(pair.log) >= after_packets, 2)
    pair.right.start(pair.now)
    assert pair.until(pair.up, 20) < 4


def test_both_ends_restarted_at_once_are_back_at_once() -> None:
    pair = connected()
    pair.run(20)
    for end in pair.ends:
        end.start(pair.now)
    assert pair.until(pair.up, 10) < 1


def test_keys_are_renewed_by_age_without_a_gap() -> None:
    pair = connected()
    start = pair.now
    first = pair.status(pair.left).send_spi
    sent = 0
    while pair.now < start + 3560:
        pair.run(0.25)
        sent += 1
        assert pair.send(pair.left, b"x")
        assert pair.send(pair.right, b"y")
    pair.run(1)
    assert pair.status(pair.left).send_spi != first
    assert len(pair.right.received) == len(pair.left.received) == sent
    assert not any(end.session.drops for end in pair.ends)
    reasons = {e.reason for end in pair.ends for e in end.happened(ExchangeStarted)}
    assert reasons - {Reason.PEER_RENEGOTIATES} == {Reason.NO_KEYS, Reason.AGE}


def test_many_packets_renew_the_keys() -> None:
    profile = dataclasses.replace(CURRENT, rekey_packets=50)
    pair = Pair(profile=profile)
    pair.until(pair.up, 5)
    for _ in range(60):
        pair.send(pair.left, b"x")
    pair.run(1)
    assert ExchangeStarted(Reason.PACKETS, ANY_SPI) in started(pair.right)
    assert pair.up()


ANY_SPI = Spi(0)


def started(end: End) -> list[ExchangeStarted]:
    return [dataclasses.replace(event, spi=ANY_SPI) for event in end.happened(ExchangeStarted)]


def test_an_end_without_configured_peer_waits_and_learns_the_address() -> None:
    pair = Pair(right_knows_left=False)
    assert pair.status(pair.right).peer is None
    assert pair.right.session.wake_at() is None
    assert pair.until(pair.up, 5) < 1
    assert pair.right.happened(PathChanged) == [PathChanged(pair.left.address)]


def test_two_ends_without_configured_peer_say_nothing() -> None:
    pair = Pair(right_knows_left=False)
    pair.lose = lambda packet: True
    pair.run(100)
    assert not [packet for packet in pair.log if packet.sender is pair.right]


def test_a_moved_peer_is_followed_by_its_next_packet() -> None:
    pair = connected()
    pair.run(30)
    moved = Address("198.51.100.7", 4000)
    pair.left.address = moved
    pair.send(pair.left, b"from elsewhere")
    pair.run(0.1)
    assert pair.status(pair.right).peer == moved
    assert PathChanged(moved) in pair.right.events
    pair.send(pair.right, b"answer")
    pair.run(0.1)
    assert pair.left.received == [b"answer"]


def test_silence_leads_to_new_exchanges_a_pause_and_the_end_of_all_keys() -> None:
    pair = connected()
    pair.run(60)
    pair.lose = lambda packet: True
    pair.left.events.clear()
    silent_from = pair.status(pair.left).alive_age_s
    assert silent_from is not None
    cut_at = pair.now - silent_from
    pair.until(lambda: bool(started(pair.left)), 60)
    assert started(pair.left) == [ExchangeStarted(Reason.HEARTBEAT_TIMEOUT, ANY_SPI)]
    assert pair.now == pytest.approx(cut_at + 30)
    pair.until(lambda: bool(pair.left.happened(ExchangePaused)), 90)
    assert pair.now == pytest.approx(cut_at + 30 + 4 * 15)
    pair.until(lambda: bool(pair.left.happened(PeerUnresponsive)), 90)
    assert pair.now == pytest.approx(cut_at + 120)
    status = pair.status(pair.left)
    assert (status.send_spi, status.receive_spi) == (0, 0)
    assert not pair.send(pair.left, b"x")
    assert started(pair.left)[-1] == ExchangeStarted(Reason.NO_KEYS, ANY_SPI)
    pair.lose = lambda packet: False
    assert pair.until(pair.up, 60) < 3


def test_a_dead_peer_without_configured_address_is_forgotten_and_found_again() -> None:
    pair = Pair(right_knows_left=False)
    pair.until(pair.up, 5)
    pair.lose = lambda packet: True
    pair.run(150)
    assert pair.status(pair.right).peer is None
    assert pair.right.events[-1] == PathChanged(None)
    pair.lose = lambda packet: False
    assert pair.until(pair.up, 70) < 61


def test_there_is_no_pause_while_the_peer_is_evidently_alive() -> None:
    pair = Pair()
    pair.lose = lambda packet: packet.kind is Kind.CT
    pair.run(150)
    assert not any(end.happened(ExchangePaused) for end in pair.ends)


@every_pairing
def test_a_suspended_end_begins_anew_when_its_clock_has_jumped(
    left: Behaviour, right: Behaviour
) -> None:
    pair = connected(left, right)
    pair.run(100)
    pair.left.skew_s = 5000.0
    pair.right.skew_s = 5000.0
    pair.run(30)
    assert [event.seconds for event in pair.left.happened(ClockJumped)] == [5000.0]
    assert ExchangeStarted(Reason.CLOCK_JUMP, ANY_SPI) in started(pair.left)
    pair.run(10)
    assert pair.up()
    pair.left.events.clear()
    pair.left.skew_s = 4000.0
    pair.run(20)
    assert not pair.left.happened(ClockJumped)


def test_the_mtu_of_a_narrow_path_is_found_and_found_again() -> None:
    pair = Pair(mtu_discovery=True)
    pair.lose = lambda packet: len(packet.data) > 1250
    pair.run(60)
    assert [pair.status(end).mtu for end in pair.ends] == [1170, 1170]
    pair.lose = lambda packet: False
    pair.run(620)
    assert [pair.status(end).mtu for end in pair.ends] == [1422, 1422]
    assert [event.mtu for event in pair.left.happened(MtuChanged)][-1] == 1422


def test_a_path_too_narrow_for_any_probe_is_reported() -> None:
    pair = Pair(mtu_discovery=True)
    pair.lose = lambda packet: packet.kind is Kind.TRAFFIC and len(packet.data) > 600
    pair.run(200)
    assert pair.left.happened(MtuNotFound) == [MtuNotFound(623)]
    assert pair.status(pair.left).mtu == 1422


def test_flocks_must_be_mirrored() -> None:
    flocks = Flocks(FlockId(0xCAFE01), FlockId(0xBEEF02))
    pair = Pair(flocks=flocks)
    assert pair.until(pair.up, 5) < 1
    pair.right.settings = dataclasses.replace(pair.right.settings, flocks=flocks)
    for end in pair.ends:
        end.start(pair.now)
    pair.run(5)
    assert not pair.up()
    # Only the order of the two differs, which is no input of the keys: offers are understood.
    assert pair.left.session.drops[Drop.FLOCK_MISMATCH] > 4


def test_the_status_is_a_snapshot_of_everything() -> None:
    pair = connected()
    pair.run(20)
    status = pair.status(pair.left)
    assert status.peer == pair.right.address
    assert status.exchange is State.IDLE
    assert status.send_packets == status.receive_packets > 15
    assert status.send_age_s == pytest.approx(20, abs=0.2)
    assert status.heartbeat_age_s is not None
    assert status.heartbeat_age_s < 15
    assert (status.mtu, status.clock_skew_s, status.drops) == (1422, 0, {})
    assert repr(pair.left.session).startswith("<Session <Exchange idle> <Sealer spi=")


@given(st.binary(max_size=1600))
@settings(max_examples=200)
def test_no_datagram_whatever_makes_a_session_raise(data: bytes) -> None:
    pair = GARBAGE_PAIR
    before = pair.right.session.drops.total()
    pair.deliver(pair.right, data)
    pair.deliver(pair.right, b"SACRAMNT" + data)
    assert pair.right.session.drops.total() == before + 2


GARBAGE_PAIR = connected()
