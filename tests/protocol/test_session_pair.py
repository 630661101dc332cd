"""Two sessions find each other, talk, restart, move and lose packets."""

from __future__ import annotations

import itertools
import random

import pytest

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.events import (
    ClockJumped,
    ClockSkew,
    ExchangePaused,
    ExchangeStarted,
    MtuChanged,
    MtuNotFound,
    PathChanged,
    PeerRestarted,
    PeerUnresponsive,
    Reason,
)
from chancel.wire.drop import Drop
from chancel.wire.types import Address, FlockId, Flocks

from tests.protocol.pair import Kind, Packet, Pair

BEHAVIOURS = list(itertools.product((CHANCEL, REFERENCE), repeat=2))
NAMES = ["-".join("ours" if b is CHANCEL else "reference" for b in pair) for pair in BEHAVIOURS]
every_pairing = pytest.mark.parametrize(("left", "right"), BEHAVIOURS, ids=NAMES)


def connected(left: Behaviour = CHANCEL, right: Behaviour = CHANCEL) -> Pair:
    pair = Pair(left, right)
    pair.until(pair.up, 10)
    assert pair.up()
    return pair


def drops(pair: Pair) -> set[Drop]:
    return {reason for end in pair.ends for reason in end.session.drops}


@every_pairing
def test_an_exchange_completes_and_packets_arrive(left: Behaviour, right: Behaviour) -> None:
    pair = Pair(left, right)
    assert pair.until(pair.up, 10) < 3.1
    assert pair.send(pair.left, b"to the right")
    assert pair.send(pair.right, b"to the left")
    pair.run(1)
    assert (pair.left.received, pair.right.received) == ([b"to the left"], [b"to the right"])


def test_between_our_own_an_exchange_takes_two_round_trips() -> None:
    assert Pair().until(Pair().up, 0) == 0
    pair = Pair()
    assert pair.until(pair.up, 10) < 0.06
