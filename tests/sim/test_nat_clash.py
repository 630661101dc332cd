"""A router that takes what comes too early for its own, as Linux does, and what follows."""

from __future__ import annotations

import random

import pytest

from chancel.sim import nat
from chancel.sim.meeting import Meeting, MeetingScenario
from chancel.sim.nat import UNREPLIED_S, Dependence, Nat, NatModel
from chancel.wire.types import Address

PUBLIC = "203.0.113.1"
INSIDE = Address("10.0.0.2", 4500)
PEER = Address("198.51.100.7", 500)
OTHER = Address("198.51.100.8", 500)
HERE = Address(PUBLIC, INSIDE.port)


@pytest.fixture
def router() -> Nat:
    return Nat(NatModel(clashing=True), PUBLIC, random.Random(1))


def test_who_comes_first_gets_the_port(router: Nat) -> None:
    assert router.outbound(INSIDE, PEER, 0.0) == HERE
    assert router.inbound(PEER, HERE, 0.1) == INSIDE
    assert router.outbound(INSIDE, PEER, 0.2) == HERE


@pytest.mark.parametrize("spoke_before", [False, True])
def test_a_stranger_that_comes_first_makes_us_take_another(router: Nat, spoke_before: bool) -> None:
    if spoke_before:
        assert router.outbound(INSIDE, OTHER, 0.0) == HERE
    assert router.inbound(PEER, HERE, 0.1) is None
    moved = router.outbound(INSIDE, PEER, 0.2)
    assert moved is not None
    assert moved.port != HERE.port
    assert router.inbound(PEER, moved, 0.3) == INSIDE
    assert router.inbound(PEER, HERE, 0.3) is None
    assert router.outbound(INSIDE, PEER, 100.0) == moved, "while it is used, it stays"
    assert router.outbound(INSIDE, OTHER, 0.4) == HERE, "nobody else is concerned"


def test_a_stranger_is_forgotten(router: Nat) -> None:
    assert router.inbound(PEER, HERE, 0.0) is None
    assert router.outbound(INSIDE, PEER, UNREPLIED_S) == HERE


def test_other_routers_forget_at_once() -> None:
    for mapping in (Dependence.ENDPOINT_INDEPENDENT, Dependence.ADDRESS_DEPENDENT):
        router = Nat(NatModel(mapping=mapping), PUBLIC, random.Random(1))
        assert router.inbound(PEER, HERE, 0.0) is None
        assert router.outbound(INSIDE, PEER, 0.1) == HERE


def test_strangers_are_limited(router: Nat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nat, "MAX_UNREPLIED", 1)
    router.inbound(PEER, HERE, 0.0)
    router.inbound(OTHER, HERE, 0.1)
    assert router.outbound(INSIDE, PEER, 0.2) == HERE
    moved = router.outbound(INSIDE, OTHER, 0.2)
    assert moved is not None
    assert moved.port != HERE.port


def test_a_router_that_blocks_udp_lets_other_protocols_out() -> None:
    router = Nat(NatModel(udp=False), PUBLIC, random.Random(1))
    assert router.outbound(INSIDE, PEER, 0.0) is None
    assert router.outbound(INSIDE, PEER, 0.0, protocol=6) == HERE


def test_at_two_cathedrals_it_is_a_matter_of_chance_and_works_relayed() -> None:
    """There the ends are told one after the other; at one, the matrix shows, all are direct."""
    became = []
    for seed in range(1, 13):
        meeting = Meeting(MeetingScenario(seed, ("clashing", "port-restricted"), cathedrals=2))
        meeting.start()
        meeting.until(meeting.up, 10.0)
        meeting.until(meeting.direct, 30.0)
        became.append(meeting.direct())
        assert meeting.exchange(4) == 8
        meeting.close()
        assert not meeting.ledger.violations
    assert any(became)
