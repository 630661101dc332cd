"""Lost ciphertexts: the reference stalls for minutes, ours gets out (protocol section 7.1)."""

from __future__ import annotations

import itertools

import pytest

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.events import (
    ExchangePaused,
    ExchangeStarted,
    PeerUnresponsive,
    SendKeyInstalled,
)
from chancel.protocol.states import State
from chancel.wire.drop import Drop
from tests.protocol.pair import End, Kind, Pair

LOSSES_S = [3.5, 14.0, 16.0, 31.0, 70.0, 200.0]
OUR_LIMIT_S = 5.0
REFERENCE_LIMIT_S = 20.0

both_sides = pytest.mark.parametrize("lost_by", ["left", "right", "both"])


def lose_ciphertexts(pair: Pair, lost_by: str) -> None:
    senders = pair.ends if lost_by == "both" else (getattr(pair, lost_by),)
    pair.lose = lambda packet: packet.kind is Kind.CT and packet.sender in senders


def recover(pair: Pair, within: float) -> float:
    pair.lose = lambda packet: False
    return pair.until(pair.up, within)


@both_sides
@pytest.mark.parametrize("loss_s", LOSSES_S)
def test_ours_recover_within_five_seconds(lost_by: str, loss_s: float) -> None:
    pair = Pair()
    lose_ciphertexts(pair, lost_by)
    pair.run(loss_s)
    assert recover(pair, 60) < OUR_LIMIT_S
    assert not any(end.happened(ExchangePaused) for end in pair.ends)


@both_sides
@pytest.mark.parametrize("loss_s", LOSSES_S)
@pytest.mark.parametrize("ours", ["left", "right"])
def test_with_the_reference_on_the_other_side_within_twenty(
    lost_by: str, loss_s: float, ours: str
) -> None:
    behaviours = (CHANCEL, REFERENCE) if ours == "left" else (REFERENCE, CHANCEL)
    pair = Pair(*behaviours)
    lose_ciphertexts(pair, lost_by)
    pair.run(loss_s)
    assert recover(pair, 60) < REFERENCE_LIMIT_S


@pytest.mark.parametrize("behaviours", [(CHANCEL, CHANCEL), (CHANCEL, REFERENCE)])
@both_sides
def test_a_rekey_recovers_as_fast_while_the_old_keys_carry_traffic(
    behaviours: tuple[Behaviour, Behaviour], lost_by: str
) -> None:
    pair = Pair(*behaviours)
    pair.run(3490)
    lose_ciphertexts(pair, lost_by)
    pair.run(45)
    for end in pair.ends:
        assert pair.send(end, b"still here")
    pair.run(1)
    assert [end.received for end in pair.ends] == [[b"still here"]] * 2
    pair.lose = lambda packet: False
    took = pair.until(lambda: pair.up() and all(young(pair, end) for end in pair.ends), 60)
    assert took < (OUR_LIMIT_S if behaviours[1] is CHANCEL else REFERENCE_LIMIT_S)


def young(pair: Pair, end: End) -> bool:
    age_s = pair.status(end).receive_age_s
    return age_s is not None and age_s < 100


def test_the_reference_with_itself_stalls_for_minutes() -> None:
    pair = Pair(REFERENCE, REFERENCE)
    lose_ciphertexts(pair, "left")
    pair.run(16)
    assert pair.status(pair.right).exchange is State.USED
    assert 120 < recover(pair, 300) < 240
    assert pair.right.happened(PeerUnresponsive)


def test_the_peer_of_a_stalled_reference_keeps_answering_until_its_key_is_used() -> None:
    pair = Pair(CHANCEL, REFERENCE)
    lose_ciphertexts(pair, "left")
    pair.run(20)
    assert pair.status(pair.right).exchange is State.USED
    pair.log.clear()
    pair.run(20)
    late = [p for p in pair.log if p.sender is pair.left and p.kind is Kind.CT]
    assert len(late) >= 4 * 3
    recover(pair, 10)
    pair.run(5)
    pair.log.clear()
    pair.run(60)
    assert {packet.kind for packet in pair.log} == {Kind.TRAFFIC}


def test_an_answer_is_repeated_once_a_second_at_most() -> None:
    pair = Pair()
    lose_ciphertexts(pair, "left")
    pair.run(100)
    times = sorted({p.sent_at for p in pair.log if p.sender is pair.left and p.kind is Kind.CT})
    gaps = [late - early for early, late in itertools.pairwise(times)]
    assert sum(gap < 0.9 for gap in gaps) <= len(pair.left.happened(ExchangeStarted))


def test_an_answer_of_an_exchange_whose_key_never_came_is_not_paired_with_an_older_key() -> None:
    """Right knows the key of left's last life; left answers in its next, whose key gets lost."""
    pair = Pair()
    pair.lose = lambda packet: packet.kind is Kind.CT
    pair.run(0.5)
    assert pair.status(pair.right).receive_spi != 0
    pair.left.start(pair.now)
    pair.lose = lambda packet: (packet.sender, packet.kind) == (pair.left, Kind.PK)
    pair.run(1.5)
    answers = [each for each in pair.log if (each.sender, each.kind) == (pair.left, Kind.CT)]
    assert answers[-1].sent_at > pair.now - 1.5
    assert not pair.right.happened(SendKeyInstalled)
    assert recover(pair, 60) < OUR_LIMIT_S
    pair.run(5)
    assert pair.left.session.drops[Drop.UNKNOWN_SPI] == 0
