"""Devices at a malicious cathedral: what holds whatever it does, and how soon it works again after.

Each heresy alone, and mixtures by seed; `chancel sim heresy --runs N` is the same at length.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from chancel.sim.heresies import AMBRIES, CARRIED, FEDERATED, NAMES, SAID, hide_peers, made
from chancel.sim.heresy import Case, Outcome, case, run, run_all
from chancel.sim.heresy_command import heresy
from chancel.sim.meeting import MeetingScenario

SEEDS = [*range(1, 17), 177, 266, 648, 902]
"""The last ones are of runs that failed once."""


def alone(name: str, **changes: Any) -> Case:
    """One heresy, at the only cathedral, after a time of virtue in which a path was proved."""
    scenario = MeetingScenario(1, ("port-restricted", "port-restricted"), cathedrals=1)
    if name in AMBRIES:
        scenario = dataclasses.replace(scenario, ambry=True)
    if name in FEDERATED:
        scenario = dataclasses.replace(scenario, cathedrals=2)
    given = Case(
        1, (name,), scenario, (0,), virtue=True, escape=False, restarts=False, tunnels=False
    )
    return dataclasses.replace(given, **changes)


def assert_holds(outcome: Outcome) -> None:
    assert outcome.ok, "\n".join((outcome.case.command(), str(outcome.case), *outcome.problems))


@pytest.mark.parametrize("name", [*CARRIED, *SAID, *FEDERATED])
def test_a_proved_path_carries_every_packet_whatever_the_cathedral_does(name: str) -> None:
    outcome = run(alone(name))
    assert outcome.was_direct
    assert outcome.case.stays_direct
    assert_holds(outcome)


@pytest.mark.parametrize("name", NAMES)
def test_ends_that_begin_at_a_heretic_work_once_it_repents(name: str) -> None:
    assert_holds(run(alone(name, virtue=False)))


@pytest.mark.parametrize("name", AMBRIES)
def test_ambries_that_are_not_what_they_should_be_cost_no_more_than_the_tunnel(name: str) -> None:
    assert_holds(run(alone(name)))


@pytest.mark.parametrize("name", ["old-ambries", "old-ambries-to-one"])
def test_a_restart_is_no_way_to_bring_an_old_ambry_back(name: str) -> None:
    assert_holds(run(alone(name, restarts=True)))


@pytest.mark.parametrize("seed", SEEDS)
def test_mixtures_of_heresies(seed: int) -> None:
    assert_holds(run(case(seed)))


def test_a_heretic_that_never_repents_is_left_for_an_honest_one() -> None:
    """It says that the peer is there and carries nothing: silence alone would not give it away."""
    scenario = MeetingScenario(1, ("symmetric", "symmetric"), 2, all_configured=True)
    given = alone("drops", scenario=scenario, escape=True, virtue=False)
    outcome = run(given)
    assert outcome.works_s < given.bound_s
    assert_holds(outcome)


@pytest.mark.parametrize(
    ("names", "hide"),
    [
        (["silent"], False),
        (["silent", "flips", "drops"], False),
        (["silent", "alters-ambries"], True),
        (["old-ambries", "lies-hastily"], False),
        (["hides-peers"], True),
        (["wrong-times", "drops"], True),
    ],
)
def test_which_heretics_need_not_be_left(names: list[str], hide: bool) -> None:
    """No run expects a client to leave a cathedral that hides its peer from it: it can't know."""
    assert hide_peers(made(names, ())) is hide
    assert not (hide and any(case(seed, names).escape for seed in range(50)))


def test_equal_seeds_give_equal_runs() -> None:
    assert run(case(4)) == run(case(4)) != run(case(5))


def test_seeds_are_spread_over_processes() -> None:
    cases = [case(each) for each in (3, 12)]
    assert {each.case for each in run_all(cases, jobs=2)} == set(cases)


GOOD = Outcome(case(1), 4.0, True, 0, 0, 10, ())


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        ({"works_s": math.inf}, ["nothing passed for inf s once all was well"]),
        ({"strayed": 2}, ["a direct path was left for 2 s"]),
        ({"lost": 3}, ["3 packets were lost"]),
        ({"broken": ("a secret was readable",)}, ["a secret was readable"]),
    ],
)
def test_what_counts_as_broken(changes: dict[str, Any], problems: list[str]) -> None:
    assert dataclasses.replace(GOOD, **changes).problems == problems


class TestCommand:
    def program(self) -> typer.Typer:
        program = typer.Typer()
        program.command()(heresy)
        return program

    def test_a_seed_is_told_in_full(self) -> None:
        result = CliRunner().invoke(self.program(), ["--seed", "12"])
        assert result.exit_code == 0, result.output
        assert "heretics" in result.output
        assert "once all was well packets passed after" in result.output

    def test_a_campaign_counts(self) -> None:
        arguments = ["--runs", "2", "--jobs", "1", "--heresies", "silent"]
        result = CliRunner().invoke(self.program(), arguments)
        assert result.exit_code == 0, result.output
        assert result.output.endswith("2 runs, 0 failed\n")

    def test_a_heresy_that_there_is_not(self) -> None:
        result = CliRunner().invoke(self.program(), ["--heresies", "arianism"])
        assert result.exit_code == 2
        assert "arianism" in result.output

    def test_what_repeats_a_run(self) -> None:
        assert case(9).command() == "chancel sim heresy --seed 9"
        other = case(9, ["flips", "drops"])
        assert other.command() == "chancel sim heresy --seed 9 --heresies flips,drops"
