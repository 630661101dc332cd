"""What happens to a tunnel behind NATs while it runs: nothing for an hour, and routers that change.

A mapping that lives shorter than the pause between two heartbeats (15 s) would end an idle tunnel.
"""

from __future__ import annotations

import pytest

from chancel.protocol.events import PathChanged, PeerUnresponsive
from chancel.sim.meeting import Meeting, MeetingScenario
from chancel.sim.nat import Dependence, NatModel
from chancel.sim.network import Network
from chancel.sim.node import Node
from chancel.sim.places import NEIGHBOURS

UP_S, DIRECT_S = 10.0, 30.0
HOUR_S = 3600.0
SILENCE_S = 16.0
"""A heartbeat each 15 seconds, and a moment on its way."""
AGAIN_S = 15.0
"""A path in use that answers nothing is given up, and another one proved, within this time."""


def met(left: str, right: str, *, direct: bool) -> Meeting:
    """Two devices that have met."""
    meeting = Meeting(MeetingScenario(5, (left, right), cathedrals=1), keep_trace=True)
    meeting.start()
    assert meeting.until(meeting.up, UP_S) < UP_S
    meeting.until(meeting.direct, DIRECT_S)
    assert meeting.direct() == direct
    return meeting


def heard_of(device: Node) -> tuple[object, ...]:
    """What is another thing after each packet that was heard."""
    status = device.status()
    assert status is not None
    return status.receive_spi, status.receive_packets


@pytest.mark.parametrize(
    ("left", "right", "direct"),
    [
        ("short-lived", "short-lived", True),
        ("short-lived", "symmetric", False),
        ("half-minute", "half-minute", True),
        ("half-minute", "symmetric", False),
        ("carrier-grade", "short-lived", True),
    ],
)
def test_an_idle_hour(left: str, right: str, direct: bool) -> None:
    meeting = met(left, right, direct=direct)
    told = len(meeting.trace.lines)
    end = meeting.clock.now + HOUR_S
    heard = [heard_of(device) for device in meeting.devices]
    while meeting.clock.now < end:
        meeting.run(SILENCE_S)
        before, heard = heard, [heard_of(device) for device in meeting.devices]
        assert all(now != then for now, then in zip(heard, before, strict=True)), "silence"
    assert meeting.direct() == direct
    lost = (PathChanged.__name__, PeerUnresponsive.__name__)
    assert not [line for line in meeting.trace.lines[told:] if any(word in line for word in lost)]
    assert meeting.exchange(4) == 8
    assert not meeting.ledger.violations


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("right", ["port-restricted", "full-cone", "symmetric-open"])
def test_a_router_is_switched_off_and_on(right: str, side: int) -> None:
    meeting = met("restricted", right, direct=True)
    meeting.routers[side][0].nat.forget()
    assert meeting.until(lambda: meeting.exchange(1) == 2, AGAIN_S) < AGAIN_S
    assert meeting.until(meeting.direct, DIRECT_S) < DIRECT_S
    assert not meeting.ledger.violations


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("right", ["port-restricted", "full-cone", "carrier-grade"])
def test_a_router_gets_another_public_address(right: str, side: int) -> None:
    meeting = met("restricted", right, direct=True)
    meeting.network.move_router(meeting.routers[side][0], "192.0.2.77")
    assert meeting.until(lambda: meeting.exchange(1) == 2, AGAIN_S) < AGAIN_S
    assert meeting.until(meeting.direct, DIRECT_S) < DIRECT_S
    assert meeting.exchange(4) == 8
    assert not meeting.ledger.violations


def test_the_last_address_of_a_router_is_free_again() -> None:
    meeting = met("restricted", "public", direct=True)
    network: Network = meeting.network
    router = meeting.routers[0][0]
    old = router.nat.public_host
    network.move_router(router, "192.0.2.77")
    network.router(old, NatModel())
    with pytest.raises(ValueError, match="taken"):
        network.move_router(router, old)
    assert router.nat.public_host == "192.0.2.77"


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_share_the_routers_that_they_say(name: str) -> None:
    meeting = Meeting(MeetingScenario(1, (name, name)))
    left, right = meeting.routers
    shared = sum(one is other for one, other in zip(left, right, strict=True))
    assert shared == NEIGHBOURS[name].common
    assert 1 <= shared <= len(left)


def test_a_symmetric_router_turns_nothing_back_to_whom_it_gave_another_port() -> None:
    """Hairpin alone makes nobody direct: each sees the other under a port of its own."""
    (office,) = NEIGHBOURS["one office"].routers
    assert office.hairpin
    assert office.mapping is Dependence.ADDRESS_AND_PORT_DEPENDENT
    met("one office", "one office", direct=False)
