"""What the reference's library does, as a ``Behaviour``: beside ours, and beside daemons."""

from __future__ import annotations

import dataclasses

import pytest

from chancel.protocol.behaviour import CHANCEL, KYRKA, LIBRARY, REFERENCE, Behaviour
from chancel.protocol.events import (
    ClockJumped,
    ExchangeEnded,
    ExchangePaused,
    ExchangeStarted,
    Outcome,
    PeerUnresponsive,
    Reason,
)
from tests.protocol.pair import Kind, Pair

LIBRARIES = pytest.mark.parametrize("library", [KYRKA, LIBRARY], ids=["theirs", "ours"])


@LIBRARIES
@pytest.mark.parametrize("peer", [CHANCEL, REFERENCE, KYRKA, LIBRARY])
def test_it_agrees_on_keys_with_every_peer(library: Behaviour, peer: Behaviour) -> None:
    pair = Pair(library, peer)
    assert pair.until(pair.up, 5.0) < 5.0


@LIBRARIES
def test_it_has_one_receive_key(library: Behaviour) -> None:
    pair = Pair(CHANCEL, library)
    pair.until(pair.up, 5.0)
    old = pair.status(pair.right).receive_spi
    pair.left.start(pair.now)
    pair.until(lambda: pair.status(pair.right).receive_spi != old, 5.0)
    assert len(pair.right.session._opener._slots) == 1


@LIBRARIES
def test_silence_and_jumps_of_the_clock_mean_nothing_to_it(library: Behaviour) -> None:
    pair = Pair(CHANCEL, library)
    pair.until(pair.up, 5.0)
    spi = pair.status(pair.right).receive_spi
    pair.lose = lambda packet: True
    pair.right.skew_s = 1000.0
    pair.run(600.0)
    assert pair.status(pair.right).receive_spi == spi
    assert pair.right.happened(ClockJumped) == []
    assert pair.right.happened(PeerUnresponsive) == []
    assert pair.left.happened(PeerUnresponsive) != []


@LIBRARIES
def test_failures_never_make_it_pause(library: Behaviour) -> None:
    pair = Pair(REFERENCE, library)
    pair.lose = lambda packet: True
    pair.run(300.0)
    assert pair.right.happened(ExchangePaused) == []
    assert pair.left.happened(ExchangePaused) != []
    ended = pair.right.happened(ExchangeEnded)
    assert {event.outcome for event in ended} == {Outcome.EXPIRED}
    assert len(ended) >= 300 // 15


@LIBRARIES
@pytest.mark.parametrize("last", [0.0, 1.0])
def test_a_key_must_exceed_its_age_limit(library: Behaviour, last: float) -> None:
    slack = dataclasses.replace(library, limit_slack=int(last))
    pair = Pair(slack, slack)
    pair.until(pair.up, 5.0)
    pair.left.events.clear()
    age = 3500.0 + last - (pair.status(pair.left).receive_age_s or 0.0)
    pair.run(age - 0.1)
    assert pair.left.happened(ExchangeStarted) == []
    pair.run(0.3)
    assert [event.reason for event in pair.left.happened(ExchangeStarted)] == [Reason.AGE]


@pytest.mark.parametrize(("library", "recovers"), [(KYRKA, False), (LIBRARY, True)])
def test_a_lost_answer_ends_in_silence_only_in_the_reference(
    library: Behaviour, recovers: bool
) -> None:
    """Protocol section 7.1. The right one's answers are lost; its peer's packets are not."""
    pair = Pair(library, library)
    pair.lose = lambda packet: packet.sender is pair.right and packet.kind is Kind.CT
    pair.run(20.0)
    assert pair.status(pair.right).send_spi != 0
    pair.lose = lambda packet: False
    pair.run(40.0)
    assert pair.up() is recovers
