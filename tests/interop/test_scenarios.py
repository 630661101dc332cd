"""The example scenarios with real daemons, side by side: the words of the simulator, in its order.

Once with all ours, once with a cathedral of the reference's and once with a device of its.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import pytest

from chancel.demo.scenario_lab import run as run_in_lab
from chancel.sim.scenario_events import Line, Word, canonical
from chancel.sim.scenario_file import Program, ScenarioFile, load
from chancel.sim.scenario_run import run as run_in_sim
from tests.interop.parishes import side_by_side

EXAMPLES = Path(__file__).parents[2] / "examples/scenarios"

pytestmark = [pytest.mark.timeout(1200), pytest.mark.usefixtures("reference")]


class Case(NamedTuple):
    """A file without its suffix, and who in it is the reference's."""

    name: str
    reference: str = ""

    def __str__(self) -> str:
        return f"{self.name}-{self.reference or 'ours'}"

    @property
    def scenario(self) -> ScenarioFile:
        """The file, with that one changed."""
        read = load(EXAMPLES / f"{self.name}.toml")
        if self.reference in read.cathedrals:
            changed = dataclasses.replace(
                read.cathedrals[self.reference], program=Program.REFERENCE
            )
            halls = {**read.cathedrals, self.reference: changed}
            return dataclasses.replace(read, cathedrals=halls)
        if self.reference:
            device = dataclasses.replace(read.devices[self.reference], program=Program.REFERENCE)
            return dataclasses.replace(read, devices={**read.devices, self.reference: device})
        return read


CASES = [
    *(Case(name) for name in ("two_behind_nat", "cathedral_dies", "split_that_heals")),
    Case("two_behind_nat", "east"),
    Case("two_behind_nat", "bert"),
    Case("split_that_heals", "west"),
]

Told = tuple[tuple[Line, ...], tuple[str, ...]]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[dict[Case, Future[Told]]]:
    """All cases that were asked for, at work."""

    def play(case: Case, _folder: Path) -> Told:
        return run_in_lab(case.scenario)

    with side_by_side(request, play) as futures:
        yield futures


def of_ends(lines: tuple[Line, ...], scenario: ScenarioFile) -> Mapping[object, tuple[Word, ...]]:
    """What ends of ours told: the reference says nothing.

    Where packets get lost by chance, a lost heartbeat makes an end ask for new keys, here or there.
    """
    links = [each.link for each in scenario.cathedrals.values()]
    links += [each.link for each in scenario.devices.values()]
    by_chance = Word.NEW_KEY if any(link.loss for link in links) else None
    told = [line for line in lines if line.what is not by_chance]
    return {
        ends: words
        for ends, words in canonical(told).items()
        if scenario.devices[ends[0]].program is Program.CHANCEL
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lab_and_sim_tell_the_same(case: Case, told: dict[Case, Future[Told]]) -> None:
    simulated = run_in_sim(case.scenario)
    lines, problems = told[case].result()
    assert simulated.problems == ()
    assert problems == (), "\n".join(map(str, lines))
    assert of_ends(lines, case.scenario) == of_ends(simulated.lines, case.scenario)
