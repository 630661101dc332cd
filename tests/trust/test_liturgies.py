"""A liturgy at a malicious cathedral: who is said to be there, and what that can cost.

The library's liturgy with real cryptography, on a network in memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chancel.links.memory import MemoryNetwork
from chancel.sim.heresies_carried import Drops, Flips, Reflects, Repeats, Replays
from chancel.sim.heresies_said import Announces, Babbles, TalksNonsense, WrongTimes
from chancel.sim.heretic import Heresy, Heretic
from tests.tunnel import parish as parishes
from tests.tunnel.pair import run_jumping
from tests.tunnel.parish import DEVICES, Parish
from tests.tunnel.test_liturgy import UP_S, Member, greet, until

EVIL_S = 60.0


def everybody() -> Heresy:
    return Announces(lambda _heretic: True)


def nobody() -> Heresy:
    return Announces(lambda _heretic: False)


def flapping() -> Heresy:
    return Announces(lambda heretic: heretic.rng.random() < 0.05)


class HereticParish(Parish):
    """A parish whose cathedral is a heretic."""

    heretic: Heretic

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        super().__init__(MemoryNetwork(), **options)
        monkeypatch.setattr(parishes, "Cathedral", self._made)
        self.roll()

    def _made(self, *given: Any) -> Heretic:
        self.heretic = Heretic(*given, heresies=(), rng=random.Random(1))
        return self.heretic


@pytest.mark.parametrize(
    "heresies",
    [
        [nobody],
        [flapping],
        [Drops],
        [Babbles, TalksNonsense, WrongTimes],
        [Flips, Reflects, Repeats, Replays],
    ],
    ids=["nobody", "flapping", "drops", "talks", "carries badly"],
)
def test_those_that_have_met_stay_together(
    monkeypatch: pytest.MonkeyPatch, heresies: Sequence[Callable[[], Heresy]]
) -> None:
    async def main() -> None:
        parish = HereticParish(monkeypatch)
        one, two = (Member(parish, device) for device in DEVICES)
        async with parish.served(), one.liturgy, two.liturgy:
            await until(lambda: bool(one.sees and two.sees))
            tunnel = one.liturgy.tunnels[two.device]
            await greet(one, two)
            await until(lambda: tunnel.peer.name != str(parishes.HERE))
            parish.heretic.heresies = [make() for make in heresies]
            for _ in range(int(EVIL_S / 5)):
                await asyncio.sleep(5.0)
                assert one.liturgy.tunnels[two.device] is tunnel
                await greet(one, two)

    run_jumping(main())


def test_everybody_is_announced_and_nobody_of_them_gets_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """253 tunnels is the most that it can have a device begin: each waits for a peer in vain."""

    async def main() -> None:
        parish = HereticParish(monkeypatch)
        one, two = (Member(parish, device) for device in DEVICES)
        async with parish.served():
            parish.heretic.heresies = [everybody()]
            async with two.liturgy, one.liturgy:
                await until(lambda: len(one.sees) == 253)
                await greet(one, two)
                up = {device for device, each in one.liturgy.tunnels.items() if each.is_up}
                assert up == {two.device}
                parish.heretic.repent()
                await until(lambda: one.sees == {two.device}, 4 * UP_S)
                await greet(one, two)

    run_jumping(main())
