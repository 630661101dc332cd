"""Ambries at a registration: which are taken, when they count, and which never come back."""

from __future__ import annotations

import pytest

from chancel.errors import LocalProtocolError, VaultError
from chancel.protocol.registration_events import (
    AmbryAdopted,
    AmbryNotKept,
    AmbryRefused,
    Key,
    KeyUnavailable,
)
from chancel.protocol.registration_types import AdoptSecret
from chancel.vault.ambries import MAX_REPLACED, AmbryHistory
from chancel.vault.secret import Secret
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.drop import Drop
from chancel.wire.types import FlockId, Flocks
from tests.protocol.registration_world import (
    FIRST,
    KEK,
    SHARED,
    Cathedral,
    World,
    ambry,
    registrant,
    said,
)

OLD, NEW, NEWER = 0xA1B2C3D4, 7, 0xFFFFFFFF
CLIENT = registrant(kek=lambda: Secret(KEK))


@pytest.fixture
def world() -> World:
    return World(Cathedral(FIRST), client=CLIENT)


def offer(world: World, body: AmbryBody) -> list[Drop]:
    return world.receive(said(body, world.wall))


def adopt(world: World, generation: int, days: int = 30) -> AmbryHistory:
    """Take one; returns what the next run is told."""
    assert offer(world, ambry(generation, days=days)) == []
    (command,) = world.took(AdoptSecret)
    assert command.generation == generation
    world.registration.adopted(generation, world.now)
    return AmbryHistory.decode(command.history)


def restarted(history: AmbryHistory) -> World:
    world = World(Cathedral(FIRST), client=CLIENT)
    world.registration.recall_ambries(history)
    return world


def test_the_secret_is_handed_over(world: World) -> None:
    assert offer(world, ambry(OLD)) == []
    (command,) = world.took(AdoptSecret)
    with command.secret.reveal() as secret:
        assert bytes(secret) == SHARED
    assert SHARED.hex() not in repr(command)


def test_it_counts_once_it_is_kept(world: World) -> None:
    offer(world, ambry(OLD))
    world.run(5.0)
    assert world.registration.generation == 0
    assert world.infos[-1].info.generation == 0
    world.registration.adopted(OLD, world.now)
    world.settle()
    assert world.registration.generation == OLD
    assert world.told(AmbryAdopted) == [AmbryAdopted(OLD)]
    world.run(5.0)
    assert world.infos[-1].info.generation == OLD


def test_without_a_kek_none_is_wanted() -> None:
    world = World(Cathedral(FIRST))
    assert offer(world, ambry(OLD)) == [Drop.AMBRY_UNWANTED]
    assert world.told(AmbryRefused) == []


def test_no_generation_is_no_ambry(world: World) -> None:
    assert offer(world, ambry(0)) == [Drop.AMBRY_UNWANTED]


def test_the_one_in_use_is_not_taken_again(world: World) -> None:
    adopt(world, OLD)
    world.told(AmbryAdopted)
    assert offer(world, ambry(OLD)) == [Drop.AMBRY_REPEATED]
    assert world.took(AdoptSecret) == []
    assert world.told(AmbryRefused) == []


def test_none_while_one_is_being_kept(world: World) -> None:
    offer(world, ambry(OLD))
    assert offer(world, ambry(OLD)) == [Drop.AMBRY_REPEATED]
    assert offer(world, ambry(NEW)) == [Drop.AMBRY_REPEATED]
    assert len(world.took(AdoptSecret)) == 1


def test_one_that_cannot_be_kept_comes_again(world: World) -> None:
    world.cathedrals[FIRST].ambry = ambry(OLD)
    for _ in range(3):
        world.run(5.0)
        assert len(world.took(AdoptSecret)) == 1
        world.registration.not_adopted("secret.new: no space left on device", world.now)
        world.settle()
        assert world.registration.generation == 0
    assert world.told(AmbryNotKept) == [AmbryNotKept(OLD, "secret.new: no space left on device")]
    world.run(5.0)
    world.registration.adopted(OLD, world.now)
    assert world.registration.generation == OLD


def test_a_new_generation_rolls_in(world: World) -> None:
    cathedral = world.cathedrals[FIRST]
    for generation in (OLD, NEW, NEWER):
        cathedral.ambry = ambry(generation)
        world.run(5.0)
        (command,) = world.took(AdoptSecret)
        world.registration.adopted(command.generation, world.now)
        world.run(100.0)
        assert world.took(AdoptSecret) == []
    assert world.registration.generation == NEWER


def test_one_that_was_replaced_never_comes_back(world: World) -> None:
    for generation in (OLD, NEW, NEWER):
        adopt(world, generation)
    world.told(AmbryAdopted)
    for _ in range(2):
        assert offer(world, ambry(OLD)) == [Drop.AMBRY_REPEATED]
    assert offer(world, ambry(NEW)) == [Drop.AMBRY_REPEATED]
    assert world.took(AdoptSecret) == []
    assert world.registration.generation == NEWER
    assert world.told(AmbryRefused) == [
        AmbryRefused(OLD, Drop.AMBRY_REPEATED),
        AmbryRefused(NEW, Drop.AMBRY_REPEATED),
    ]


def test_those_replaced_are_remembered_up_to_a_limit(world: World) -> None:
    for generation in range(1, MAX_REPLACED + 3):
        adopt(world, generation)
        world.now += 1.0
    assert offer(world, ambry(2)) == [Drop.AMBRY_REPEATED]
    assert offer(world, ambry(1)) == []


class TestAfterRestart:
    def test_one_that_was_replaced_never_comes_back(self, world: World) -> None:
        adopt(world, OLD)
        world = restarted(adopt(world, NEW))
        assert offer(world, ambry(OLD)) == [Drop.AMBRY_REPEATED]
        world = restarted(adopt(world, NEWER))
        assert [offer(world, ambry(each)) for each in (OLD, NEW)] == [[Drop.AMBRY_REPEATED]] * 2

    def test_the_one_in_use_comes_again(self, world: World) -> None:
        """Whether its secret reached the disk nobody knows."""
        adopt(world, OLD)
        world = restarted(adopt(world, NEW))
        assert world.registration.generation == 0
        adopt(world, NEW)
        assert offer(world, ambry(OLD)) == [Drop.AMBRY_REPEATED]

    def test_only_the_one_that_expires_last_comes_back(self, world: World) -> None:
        adopt(world, OLD, days=20)
        adopt(world, NEW, days=30)
        world = restarted(adopt(world, NEWER, days=10))  # nobody could tell that it is old
        assert offer(world, ambry(OLD, days=20)) == [Drop.AMBRY_REPEATED]
        adopt(world, NEW, days=30)

    def test_what_could_not_be_kept_replaces_nothing(self, world: World) -> None:
        history = adopt(world, OLD)
        assert offer(world, ambry(NEW)) == []
        world.took(AdoptSecret)
        world.registration.not_adopted("the disk is full", world.now)
        assert history.generation == OLD
        assert adopt(restarted(history), OLD) == history
        assert adopt(world, NEW).replaced == (OLD,)

    def test_it_is_recalled_at_the_start(self, world: World) -> None:
        history = adopt(world, OLD)
        with pytest.raises(LocalProtocolError, match="recall what was kept before that"):
            world.registration.recall_ambries(history)
        world = restarted(history)
        offer(world, ambry(NEW))
        with pytest.raises(LocalProtocolError):
            world.registration.recall_ambries(history)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (ambry(OLD, kek=bytes(32)), Drop.AMBRY_BAD_TAG),
        (ambry(OLD, tunnel=TunnelId(0xFECA)), Drop.AMBRY_TUNNEL),
        (ambry(OLD, flocks=Flocks(FlockId(0x100), FlockId(0x100))), Drop.AMBRY_BAD_TAG),
        (ambry(OLD, days=0), Drop.AMBRY_EXPIRED),
    ],
    ids=["other kek", "other tunnel", "other flock", "expired"],
)
def test_one_that_cannot_be_used_is_told_of_once(
    world: World, body: AmbryBody, reason: Drop
) -> None:
    assert [offer(world, body) for _ in range(3)] == [[reason]] * 3
    assert world.took(AdoptSecret) == []
    assert world.told(AmbryRefused) == [AmbryRefused(OLD, reason)]
    assert offer(world, ambry(OLD)) == []


def test_domains_are_not_part_of_it(world: World) -> None:
    other = Flocks(FlockId(0xCAFEBA55), FlockId(0xCAFEBA99))
    assert offer(world, ambry(OLD, flocks=other)) == []


def test_across_flocks() -> None:
    flocks = Flocks(FlockId(0xCAFEBA07), FlockId(0xBBBBBB07))
    world = World(Cathedral(FIRST), client=registrant(kek=lambda: Secret(KEK), flocks=flocks))
    mirrored = ambry(OLD, flocks=Flocks(flocks.peer, flocks.own))
    assert offer(world, mirrored) == [Drop.AMBRY_BAD_TAG]
    assert offer(world, ambry(OLD, flocks=flocks)) == []


def test_a_kek_that_is_missing() -> None:
    def missing() -> Secret:
        raise VaultError("kek: no such file")

    world = World(Cathedral(FIRST), client=registrant(kek=missing))
    assert offer(world, ambry(OLD)) == [Drop.NO_SECRET]
    assert offer(world, ambry(OLD)) == [Drop.NO_SECRET]
    assert world.told(KeyUnavailable) == [KeyUnavailable(Key.KEK, "kek: no such file")]
    assert world.registration.generation == 0


def test_an_answer_to_nothing_is_a_mistake(world: World) -> None:
    registration = world.registration
    with pytest.raises(LocalProtocolError, match="answer each AdoptSecret once"):
        registration.adopted(OLD, world.now)
    with pytest.raises(LocalProtocolError, match="answer each AdoptSecret once"):
        registration.adopted(0, world.now)
    with pytest.raises(LocalProtocolError, match="answer each AdoptSecret once"):
        registration.not_adopted("nothing", world.now)
    offer(world, ambry(OLD))
    with pytest.raises(LocalProtocolError, match="0x7"):
        registration.adopted(NEW, world.now)
    registration.adopted(OLD, world.now)
    with pytest.raises(LocalProtocolError):
        registration.adopted(OLD, world.now)
