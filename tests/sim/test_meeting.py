"""Devices that find each other through cathedrals: every kind of NAT, deaths, returns, new keys."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.events import PathDirect, PathRelayed, SecretNotShared
from chancel.protocol.registration_events import AmbryAdopted
from chancel.sim.cathedral_node import CathedralNode
from chancel.sim.meeting import (
    OUTSIDE,
    PORT,
    Gathering,
    Meeting,
    MeetingScenario,
    TunnelMeeting,
)
from chancel.sim.models import LinkModel
from chancel.sim.nat import NAT_TYPES
from chancel.sim.network import Router
from chancel.sim.node import Node
from chancel.sim.places import PLACES, can_be_direct
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.types import Address

UP_S = 3.0
"""An info, an exchange, and a heartbeat under its key; with an ambry an answer before that."""
DIRECT_S = 30.0
"""15 s until a cathedral believes a NAT, two infos at each cathedral and one between them."""
JUDGED_S = 12.0
"""No cathedral believes a NAT before that, as the client sees it."""
DEAD_S = 25.0
"""Three infos that were expected to be answered, and the first to the next cathedral."""

KINDS = [None, *NAT_TYPES]
BELIEVING = dataclasses.replace(CHANCEL, proves_paths=False)


def meeting(
    *nats: str | None,
    cathedrals: int = 2,
    ambry: bool = False,
    shared: bool = True,
    shroud: bool = False,
    loss: float = 0.0,
    behaviours: tuple[Behaviour, Behaviour] = (CHANCEL, CHANCEL),
    seed: int = 1,
) -> Meeting:
    left, right = nats or ("port-restricted", "port-restricted")
    scenario = MeetingScenario(
        seed,
        (left, right),
        cathedrals,
        ambry=ambry,
        shared=shared,
        shroud=shroud,
        loss=loss,
        behaviours=behaviours,
    )
    gathering = Meeting(scenario, keep_trace=True)
    gathering.start()
    return gathering


def assert_good(gathering: Meeting) -> None:
    assert not gathering.ledger.violations, gathering.ledger.violations[:5]


def count(gathering: Meeting, event: type[object], device: Node | None = None) -> int:
    name = "" if device is None else device.name
    return sum(f"{name} {event.__name__}(" in line for line in gathering.trace.lines)


def works(gathering: Meeting) -> bool:
    return gathering.exchange(1) == 2


def wait_works(gathering: Meeting, within_s: float) -> float:
    """How long until packets pass in both directions, trying again and again."""
    start = gathering.clock.now
    while gathering.clock.now < start + within_s:
        if works(gathering):
            break
    return gathering.clock.now - start


@pytest.mark.parametrize(("left", "right"), list(itertools.combinations_with_replacement(KINDS, 2)))
def test_relayed_first_and_direct_wherever_that_can_be(left: str | None, right: str | None) -> None:
    gathering = meeting(left, right)
    assert gathering.until(gathering.up, UP_S) < UP_S
    assert not any(gathering.view(device).direct for device in gathering.devices)
    assert gathering.exchange() == 20
    took = gathering.until(gathering.direct, DIRECT_S)
    places = [PLACES[kind or "public"] for kind in (left, right)]
    assert gathering.direct() is can_be_direct(*places), took
    assert gathering.exchange() == 20
    assert_good(gathering)


@pytest.mark.parametrize(("left", "right"), [("restricted", "symmetric"), (None, "full-cone")])
def test_an_end_that_proves_no_path_is_told_of_what_was_judged_alone(
    left: str | None, right: str | None
) -> None:
    gathering = meeting(left, right, behaviours=(CHANCEL, BELIEVING))
    assert gathering.until(gathering.up, UP_S) < UP_S
    took = gathering.until(gathering.direct, DIRECT_S)
    assert gathering.direct() is (right == "full-cone")
    assert took > JUDGED_S
    assert gathering.exchange() == 20
    assert_good(gathering)


def test_two_that_prove_paths_are_direct_before_any_nat_was_judged() -> None:
    gathering = meeting()
    assert gathering.until(gathering.direct, DIRECT_S) < JUDGED_S / 3


@pytest.mark.parametrize("cathedrals", [1, 2, 3])
@pytest.mark.parametrize("shroud", [False, True])
def test_no_packet_is_lost_on_the_way_from_relayed_to_direct(cathedrals: int, shroud: bool) -> None:
    gathering = meeting(cathedrals=cathedrals, shroud=shroud, ambry=True)
    gathering.until(gathering.up, UP_S)
    gathering.run(5.0)  # the cathedrals have to learn under which SPIs we receive
    assert gathering.exchange(count=300) == 600
    assert gathering.direct()
    assert_good(gathering)


def test_an_established_path_outlives_all_cathedrals_and_renews_its_keys() -> None:
    gathering = meeting(ambry=True)
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    for cathedral in gathering.cathedrals:
        cathedral.stop()
    for _ in range(10):
        gathering.run(1000.0)
        assert gathering.exchange() == 20
    assert count(gathering, PathRelayed) == 2  # those of the start
    for cathedral in gathering.cathedrals:
        cathedral.start()
    gathering.roll()
    rolled = gathering.until(lambda: adopted(gathering), DEAD_S)
    assert rolled < DEAD_S
    assert gathering.exchange(count=600) == 1200
    assert not count(gathering, SecretNotShared)
    assert gathering.direct()
    assert_good(gathering)


def adopted(gathering: Meeting) -> bool:
    return all(
        gathering.view(each).generation == gathering.generation for each in gathering.devices
    )


def test_a_relayed_tunnel_goes_on_through_another_cathedral() -> None:
    gathering = meeting("symmetric", "symmetric", cathedrals=3)
    gathering.until(gathering.up, UP_S)
    gathering.run(40.0)
    first = gathering.cathedrals[0]
    first.stop()
    assert wait_works(gathering, DEAD_S) < DEAD_S
    assert gathering.view(gathering.left).cathedral not in (first.address, None)
    assert_good(gathering)


@pytest.mark.parametrize("dead_s", [20.0, 80.0, 110.0, 300.0, 1000.0])
def test_all_cathedrals_die_and_one_comes_back(dead_s: float) -> None:
    gathering = meeting("symmetric", "symmetric")
    gathering.until(gathering.up, UP_S)
    gathering.run(40.0)
    for cathedral in gathering.cathedrals:
        cathedral.stop()
    gathering.run(dead_s)
    assert gathering.exchange() == 0
    back: CathedralNode = gathering.cathedrals[1]
    back.start()
    assert wait_works(gathering, 20.0) < 20.0  # it ends a pause after failed exchanges
    assert_good(gathering)


def test_a_router_that_forgets_everything_costs_seconds() -> None:
    gathering = meeting()
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    router = gathering.network.public.members[OUTSIDE[0]]
    assert isinstance(router, Router)
    router.nat.forget()
    assert wait_works(gathering, 20.0) < 20.0
    assert_good(gathering)


def test_a_path_that_dies_falls_back_to_the_relay_within_seconds() -> None:
    gathering = meeting()
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    hosts = set(OUTSIDE)
    gathering.network.refuse = lambda datagram, source, to, now: (
        to.host in hosts and (not source.host.startswith("203."))
    )
    assert wait_works(gathering, 15.0) < 15.0
    assert not gathering.direct()
    gathering.network.refuse = None
    assert gathering.until(gathering.direct, 6.0) < 6.0
    assert_good(gathering)


@pytest.mark.parametrize("right", ["port-restricted", None])
def test_a_device_that_restarts_is_back_within_seconds(right: str | None) -> None:
    gathering = meeting("port-restricted", right)
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    gathering.run(30.0)
    gathering.restart(gathering.left)
    assert wait_works(gathering, 15.0) < 15.0
    assert gathering.until(gathering.direct, DIRECT_S) < DIRECT_S


def test_without_cathedrals_a_pair_that_lost_each_other_meets_where_it_was() -> None:
    gathering = meeting(ambry=True)
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    for cathedral in gathering.cathedrals:
        cathedral.stop()
    gathering.network.refuse = lambda *_: True
    gathering.run(200.0)  # longer than keys and mappings live
    assert not gathering.up()
    gathering.network.refuse = None
    assert wait_works(gathering, 80.0) < 80.0
    known = gathering.left.session.known_peers() if gathering.left.session else ()
    assert known
    gathering.restart(gathering.left, known=known)
    assert wait_works(gathering, 30.0) < 30.0


def test_devices_come_up_with_the_secret_they_have_where_no_cathedral_lives() -> None:
    gathering = meeting(None, None, ambry=True)
    for cathedral in gathering.cathedrals:
        cathedral.stop()
    known = {gathering.left: gathering.right, gathering.right: gathering.left}
    for device, peer in known.items():
        gathering.restart(device, 0.0, (peer.address,))
    gathering.run(9.0)  # an ambry is waited for
    assert not gathering.up()
    assert wait_works(gathering, 10.0) < 10.0
    assert gathering.direct()


def test_a_secret_comes_as_an_ambry_and_is_kept() -> None:
    gathering = meeting(ambry=True, shared=False)
    assert gathering.until(gathering.up, UP_S) < UP_S
    before = gathering.disks[0].load_secret()
    assert before.equals(gathering.disks[1].load_secret())
    gathering.roll()
    assert gathering.until(lambda: adopted(gathering), 6.0) < 6.0
    assert not gathering.disks[0].load_secret().equals(before)
    assert gathering.exchange(count=100) == 200
    assert count(gathering, AmbryAdopted) == 4
    assert_good(gathering)


@pytest.mark.parametrize("shroud", [False, True])
def test_nothing_is_lost_while_one_end_has_the_new_secret_and_the_other_has_not(
    shroud: bool,
) -> None:
    gathering = meeting(ambry=True, shroud=shroud)
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    late = gathering.clock.now + 9.0
    gathering.network.refuse = lambda datagram, source, to, now: (
        source.host.startswith("203.") and to.host == OUTSIDE[1] and now < late
    )
    gathering.roll()
    assert gathering.exchange(count=50) == 100
    assert gathering.view(gathering.left).generation == gathering.generation
    assert gathering.view(gathering.right).generation != gathering.generation
    assert gathering.exchange(count=100) == 200
    assert adopted(gathering)
    assert gathering.exchange() == 20
    assert_good(gathering)


def test_a_device_that_can_not_open_the_new_ambry_is_cut_off() -> None:
    gathering = meeting(ambry=True)
    gathering.until(gathering.direct, DIRECT_S + UP_S)
    lost = gathering.right
    gathering.renew_kek(gathering.devices.index(lost))  # and it keeps the old one
    gathering.roll()
    assert gathering.until(lambda: count(gathering, SecretNotShared) > 0, 90.0) < 90.0
    assert gathering.exchange() == 0
    assert gathering.view(lost).generation != gathering.generation
    gathering.run(300.0)
    assert gathering.exchange() == 0


@pytest.mark.parametrize("loss", [0.05, 0.2])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_poor_network_delays_and_changes_nothing(loss: float, seed: int) -> None:
    gathering = meeting(ambry=True, loss=loss, seed=seed)
    assert gathering.until(gathering.up, 60.0) < 60.0
    assert gathering.until(gathering.direct, 120.0) < 120.0
    gathering.run(3600.0)
    assert gathering.exchange(count=100) > 200 * (1 - loss) ** 2 * 0.8
    # A path whose probes are lost three times in a row is left, and taken again a second later.
    assert count(gathering, PathDirect) < 2 * (1 + 3600 * loss**2)
    assert_good(gathering)


@pytest.mark.parametrize(
    "behaviours", [(REFERENCE, REFERENCE), (CHANCEL, REFERENCE), (REFERENCE, CHANCEL)]
)
def test_the_references_keeping_of_keys_on_our_paths(
    behaviours: tuple[Behaviour, Behaviour],
) -> None:
    gathering = meeting(ambry=True, behaviours=behaviours)
    assert gathering.until(gathering.direct, 60.0) < 60.0
    gathering.roll()
    gathering.run(8000.0)
    assert gathering.exchange() == 20


@pytest.mark.parametrize("shroud", [False, True])
def test_who_repeats_everything_from_elsewhere_gets_nothing(shroud: bool) -> None:
    """Traffic, offers of keys and infos, captured and sent again a second later."""
    gathering = meeting(None, None, ambry=True, shroud=shroud)
    network, clock = gathering.network, gathering.clock
    caught: list[bytes] = []
    attacker = network.host(
        Address("192.0.2.66", 666), LinkModel(), lambda datagram, *_: caught.append(datagram)
    )
    repeated = 0

    def repeat(datagram: bytes, source: Address, to: Address, now: float) -> bool:
        nonlocal repeated
        if source.host == OUTSIDE[0]:
            for target in (to, Address(OUTSIDE[1], PORT)):
                clock.call_at(now + 1.0, network.send, attacker, datagram, target)
                repeated += 1
        return False

    network.refuse = repeat
    gathering.until(gathering.direct, DIRECT_S)
    gathering.roll()
    assert gathering.exchange(count=200) == 400
    gathering.run(300.0)
    assert gathering.direct()
    assert repeated > 500
    # The cathedral may answer a repeated info, as it can't tell it from a move (section 12).
    assert not [each for each in caught if not shroud and each[:8] != CATHEDRAL.magic]
    views = [gathering.view(device) for device in gathering.devices]
    assert {view.candidate for view in views} == {None}


LIBRARY = MeetingScenario(
    1, ("port-restricted", "restricted"), ambry=True, remember=False, all_configured=True
)
"""What a program without files can do: all cathedrals are in its configuration."""


@pytest.mark.parametrize("shroud", [False, True])
def test_tunnels_of_the_library_do_what_sessions_do(shroud: bool) -> None:
    runs = []
    kinds: list[type[Gathering[Any]]] = [Meeting, TunnelMeeting]
    for kind in kinds:
        gathering = kind(dataclasses.replace(LIBRARY, shroud=shroud))
        gathering.start()
        gathering.until(gathering.up, UP_S)
        gathering.until(gathering.direct, DIRECT_S)
        assert gathering.direct()
        gathering.cathedrals[0].stop()
        gathering.run(60.0)
        assert gathering.view(gathering.left).cathedral == gathering.cathedrals[1].address
        gathering.roll()
        assert gathering.exchange(count=100) == 200
        assert all(
            gathering.view(each).generation == gathering.generation for each in gathering.devices
        )
        gathering.restart(gathering.right)
        gathering.until(gathering.up, 20.0)
        gathering.run(3.0)
        assert gathering.exchange() == 20
        gathering.close()
        runs.append((gathering.trace.digest(), gathering.trace.count, gathering.network.sent))
        assert not gathering.ledger.violations
    assert runs[0] == runs[1]


def test_equal_seeds_give_equal_runs() -> None:
    digests = []
    for seed in (1, 1, 2):
        gathering = meeting(ambry=True, loss=0.05, seed=seed)
        gathering.run(300.0)
        gathering.roll()
        gathering.run(100.0)
        gathering.close()
        digests.append((gathering.trace.digest(), gathering.network.sent))
    assert digests[0] == digests[1] != digests[2]
