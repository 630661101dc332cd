"""Runs a scenario file on the protocol's own objects, in virtual time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.sim.network_scenario import Crypto
from chancel.sim.network_suite import suites
from chancel.sim.parish import Parish, Tunnel
from chancel.sim.parish_plan import Hall, Plan, Resident
from chancel.sim.scenario_events import Line
from chancel.sim.scenario_file import (
    DeviceSpec,
    Expectation,
    Happening,
    Heal,
    Kill,
    Move,
    Partition,
    Program,
    Roll,
    ScenarioFile,
    Sleep,
    Standing,
    Start,
)

BELIEVING = dataclasses.replace(CHANCEL, proves_paths=False)
"""Ours beside a reference cathedral, which tells of judged addresses alone."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """What happened, and what should have been otherwise: sentences for people."""

    lines: tuple[Line, ...]
    problems: tuple[str, ...]
    digest: str
    """Of all events of the protocol: two equal runs have equal ones."""


def run(scenario: ScenarioFile, crypto: Crypto = Crypto.REAL) -> ScenarioOutcome:
    """Run a scenario to its end; equal ones give equal outcomes, with either kind of crypto."""
    play = _Play(scenario, crypto)
    play.parish.start()
    play.parish.clock.run_until(scenario.lasts_s)
    parish = play.parish
    broken = [str(each) for each in parish.violations()]
    lines, digest = tuple(parish.lines), parish.trace.digest()
    parish.close()
    return ScenarioOutcome(lines, (*play.unmet, *broken), digest)


class _Play:
    """A parish with everything that the file says on its clock."""

    def __init__(self, scenario: ScenarioFile, crypto: Crypto) -> None:
        self.parish = parish = Parish(_plan(scenario), suites(crypto), keep_lines=True)
        self.unmet: list[str] = []
        self._numbers = {name: number for number, name in enumerate(scenario.devices)}
        self._halls = {name: number for number, name in enumerate(scenario.cathedrals)}
        self._tunnels = {
            frozenset(ends): tunnel
            for ends, tunnel in zip(scenario.tunnels, parish.tunnels, strict=True)
        }
        for happening in scenario.happenings:
            parish.clock.call_at(happening.at_s, self._happen, happening)
        for expectation in scenario.expectations:
            parish.clock.call_at(expectation.by_s, self._look, expectation)

    def _happen(self, happening: Happening) -> None:
        parish = self.parish
        match happening:
            case Kill(name=name) if name in self._halls:
                parish.disturb(range(len(parish.devices)))
                parish.cathedrals[self._halls[name]].stop()
            case Start(name=name) if name in self._halls:
                cathedral = parish.cathedrals[self._halls[name]]
                if cathedral.cathedral is None:
                    cathedral.start()
            case Kill(name=name):
                parish.power_off(self._numbers[name])
            case Start(name=name):
                if not parish.devices[self._numbers[name]].on:
                    parish.power_on(self._numbers[name])
            case Partition(groups=groups):
                parish.split(groups)
            case Heal():
                parish.heal()
            case Move(name=name, place=place):
                parish.move(self._numbers[name], place)
            case Sleep(name=name, for_s=for_s):
                parish.suspend(self._numbers[name], for_s)
            case Roll():
                parish.roll()

    def _look(self, expected: Expectation) -> None:
        tunnel = self._tunnels[frozenset(expected.ends)]
        if not STANDINGS[expected.standing](self.parish, tunnel):
            at = "" if expected.line is None else f"line {expected.line}: "
            one, other = expected.ends
            self.unmet.append(
                f"{at}after {expected.by_s:g} s {one} - {other} is not {expected.standing},"
                f" but {_standing(self.parish, tunnel)}"
            )


STANDINGS: dict[Standing, Callable[[Parish, Tunnel], bool]] = {
    Standing.UP: lambda _, tunnel: tunnel.up,
    Standing.DIRECT: lambda _, tunnel: tunnel.direct,
    Standing.RELAYED: lambda _, tunnel: tunnel.up and not tunnel.direct,
    Standing.DOWN: lambda _, tunnel: not tunnel.up,
    Standing.ROLLED: lambda parish, tunnel: all(
        end.generation == parish.generation for end in tunnel.ends
    ),
}
"""How each standing is seen."""


def _standing(parish: Parish, tunnel: Tunnel) -> str:
    return ", ".join(name for name, holds in STANDINGS.items() if holds(parish, tunnel))


def _plan(scenario: ScenarioFile) -> Plan:
    halls = tuple(Hall(each.name, each.link) for each in scenario.cathedrals.values())
    places = {name: number for number, name in enumerate(scenario.cathedrals)}
    judged = any(each.program is Program.REFERENCE for each in scenario.cathedrals.values())
    resident = functools.partial(_resident, places=places, judged=judged)
    numbers = {name: number for number, name in enumerate(scenario.devices)}
    return Plan(
        scenario.seed,
        halls,
        tuple(resident(each) for each in scenario.devices.values()),
        tuple((numbers[one], numbers[other]) for one, other in scenario.tunnels),
        shroud=scenario.shroud,
        ambry=scenario.ambry,
    )


def _resident(device: DeviceSpec, places: dict[str, int], judged: bool) -> Resident:
    return Resident(
        device.name,
        0,
        device.number,
        device.place,
        tuple(places[each] for each in device.cathedrals),
        device.link,
        _behaviour(device.program, judged),
        device.on,
    )


def _behaviour(program: Program, judged: bool) -> Behaviour:
    if program is Program.REFERENCE:
        return REFERENCE
    return BELIEVING if judged else CHANCEL
