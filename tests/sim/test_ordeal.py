"""Whatever fails, in whatever order: once all is well, a pair with cathedrals works again soon."""

from __future__ import annotations

import dataclasses
import math

import pytest
import typer
from typer.testing import CliRunner

from chancel.protocol.behaviour import CHANCEL
from chancel.sim.campaign import run_ordeals
from chancel.sim.command import ordeal
from chancel.sim.meeting import Meeting, MeetingScenario
from chancel.sim.ordeal import AGREED_S, DIRECT_S, HEAVY, Outcome, run


@pytest.mark.parametrize("seed", [*range(1, 16), 254, 266, 444, 457])
def test_a_pair_works_again_within_a_minute(seed: int) -> None:
    outcome = run(seed)
    assert not outcome.problems, "\n".join((outcome.command(), *outcome.problems, *outcome.log))


def test_equal_seeds_give_equal_runs() -> None:
    assert run(3) == run(3) != run(4)


def test_seeds_are_spread_over_processes() -> None:
    assert sorted(each.seed for each in run_ordeals(range(1, 4), jobs=2)) == [1, 2, 3]


GOOD = Outcome(1, MeetingScenario(), 4.0, 20.0, 1.0, 0, ())
WITH_REFERENCE = MeetingScenario(behaviours=(CHANCEL, HEAVY))
SYMMETRIC = MeetingScenario(nats=("symmetric", None))


@pytest.mark.parametrize(
    ("outcome", "problems"),
    [
        (GOOD, []),
        (dataclasses.replace(GOOD, works_s=61.0), ["nothing passed for 61 s"]),
        (dataclasses.replace(GOOD, works_s=61.0, scenario=WITH_REFERENCE), []),
        (dataclasses.replace(GOOD, works_s=math.inf), ["nothing passed for inf s"]),
        (dataclasses.replace(GOOD, direct_s=DIRECT_S), ["no direct path"]),
        (dataclasses.replace(GOOD, direct_s=DIRECT_S, scenario=SYMMETRIC), []),
        (dataclasses.replace(GOOD, agreed_s=AGREED_S), ["two generations"]),
        (dataclasses.replace(GOOD, lost=3), ["3 packets lost in calm times"]),
    ],
)
def test_what_counts_as_broken(outcome: Outcome, problems: list[str]) -> None:
    assert outcome.problems == problems


def test_a_machine_that_was_switched_off_in_its_sleep_has_one_clock() -> None:
    meeting = Meeting(MeetingScenario())
    meeting.start()
    meeting.left.suspend(300.0)
    meeting.run(10.0)
    meeting.restart(meeting.left)
    meeting.run(400.0)
    assert meeting.left.clock.monotonic() == meeting.clock.now
    assert meeting.exchange() == 20


def test_the_command_line_repeats_a_seed() -> None:

    program = typer.Typer()
    program.command()(ordeal)
    result = CliRunner().invoke(program, ["--seed", "2"])
    assert result.exit_code == 0, result.output
    assert "then packets passed after" in result.output
