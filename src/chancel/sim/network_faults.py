"""What befalls a parish: devices that come, go, sleep and move, cathedrals that die, splits, rolls.

Everything is drawn before the start from chance of its own, so that no fault depends on what the
protocol did about the one before. In the last part of a run nothing happens: then all must be well.
"""

from __future__ import annotations

from typing import Final

from chancel.sim.network_scenario import MIX, MIXED, NetworkScenario
from chancel.sim.network_watch import Watch
from chancel.sim.parish import Parish

START_S: Final = 60.0
"""Within so much of the beginning all devices start, or within a second in a flash crowd."""
FLASH_S: Final = 1.0

CALM_S: Final = 300.0
"""The last part of a run: enough for a peer given up (120 s) and for NATs that are judged."""

DEAD_S: Final = 150.0
SPLIT_S: Final = 180.0
"""Longer than a peer or a cathedral is given up after: 120 s and 45 s."""
OFF_S: Final = (1.0, 300.0)
SLEEP_S: Final = (10.0, 200.0)

UP_BOUND_S: Final = 60.0
"""A tunnel that can be is up within this, once both ends have power and nothing else happens."""


class Faults:
    """Schedules everything on the parish's clock."""

    def __init__(self, scenario: NetworkScenario, pool: int, parish: Parish, watch: Watch) -> None:
        self._scenario = scenario
        self._rng = scenario.rng(pool, "faults")
        self._parish = parish
        self._watch = watch
        self._split = False
        self._dead = 0
        self.until_s = max(scenario.hours * 3600.0 - CALM_S, scenario.hours * 1800.0)
        """From then on nothing begins, and all that began is over."""
        starts_s = FLASH_S if scenario.flash else min(START_S, self.until_s / 4)
        for number in range(len(parish.devices)):
            self._at(self._rng.uniform(0.0, starts_s), self._start, number)
        if scenario.churn_s:
            for number in range(len(parish.devices)):
                self._churn(number, starts_s + self._rng.expovariate(1 / scenario.churn_s))
        self._infrastructure(starts_s)

    def _infrastructure(self, starts_s: float) -> None:
        scenario = self._scenario
        kinds = (
            *[(self._die, DEAD_S)] * scenario.deaths,
            *[(self._halve, SPLIT_S)] * scenario.splits,
            *[(self._roll, 0.0)] * scenario.rolls,
        )
        faults = self._rng.sample(kinds, len(kinds))
        each_s = (self.until_s - starts_s) / max(1, len(faults))
        for place, (fault, lasts_s) in enumerate(faults):
            room_s = max(0.0, each_s - lasts_s)
            at = starts_s + each_s * place + room_s / 2
            self._at(at, fault, min(lasts_s, each_s))

    def _at(self, at: float, call: object, *arguments: object) -> None:
        self._parish.clock.call_at(at, call, *arguments)  # type: ignore[arg-type]  # any of ours

    def _start(self, number: int) -> None:
        self._parish.power_on(number)
        self._expected(number)

    def _expected(self, number: int) -> None:
        """The device is there (again)."""
        self._watch.begun(number)
        if not (self._split or self._dead):
            self._parish.expect_up(number, UP_BOUND_S)

    def _churn(self, number: int, at: float) -> None:
        """Draw what happens to a device, again and again."""
        rng, scenario = self._rng, self._scenario
        while at < self.until_s:
            kind = rng.choices(("off", "sleep", "move"), (6, 2, 2))[0]
            length = {"off": OFF_S, "sleep": SLEEP_S, "move": (0.0, 0.0)}[kind]
            lasts_s = min(rng.uniform(*length), self.until_s - at)
            place = scenario.place
            if place == MIXED:
                (place,) = rng.choices(tuple(MIX), tuple(MIX.values()))
            match kind:
                case "off":
                    self._at(at, self._off, number)
                    self._at(at + lasts_s, self._start, number)
                case "sleep":
                    self._at(at, self._sleep, number, lasts_s)
                case "move":
                    self._at(at, self._move, number, place)
            at += lasts_s + 1.0 + rng.expovariate(1 / scenario.churn_s)

    def _off(self, number: int) -> None:
        self._watch.gone(number)
        self._parish.power_off(number)

    def _sleep(self, number: int, seconds: float) -> None:
        self._watch.gone(number)
        self._parish.suspend(number, seconds)

    def _move(self, number: int, place: str) -> None:
        self._watch.gone(number)
        self._parish.move(number, place)
        self._watch.begun(number)

    def _die(self, lasts_s: float) -> None:
        parish = self._parish
        alive = [each for each in parish.cathedrals if each.cathedral is not None]
        dead = self._rng.choice(alive)
        self._dead += 1
        parish.disturb(range(len(parish.devices)))
        self._watch.disturbed()
        if len(alive) > 1:
            self._watch.died(dead.address)
        dead.stop()
        self._at(parish.clock.now + lasts_s, self._return, parish.cathedrals.index(dead))

    def _return(self, place: int) -> None:
        self._dead -= 1
        self._parish.cathedrals[place].start()

    def _halve(self, lasts_s: float) -> None:
        """Cut the pool in two, each half with its cathedrals and the devices that know them."""
        parish = self._parish
        halves: tuple[list[str], list[str]] = ([], [])
        for number, hall in enumerate(parish.plan.halls):
            halves[number % 2].append(hall.name)
        for resident in parish.plan.residents:
            halves[resident.halls[0] % 2].append(resident.name)
        self._split = True
        self._watch.disturbed()
        parish.split(halves)
        self._at(parish.clock.now + lasts_s, self._heal)

    def _heal(self) -> None:
        self._split = False
        self._parish.heal()
        self._watch.healed()

    def _roll(self, _lasts_s: float) -> None:
        self._parish.disturb(range(len(self._parish.devices)))
        self._parish.roll()
        self._watch.rolled()
