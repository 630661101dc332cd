"""Two ends for hours and days: the slice of the long runs that every test run affords."""

from __future__ import annotations

import dataclasses
import random

import pytest
import typer
from typer.testing import CliRunner

from chancel.errors import LocalProtocolError
from chancel.sim import command
from chancel.sim.campaign import HARD_DAY, YEAR, hard_days, run_all
from chancel.sim.ledger import Rule, Violation
from chancel.sim.pair import Pair, Report, run
from chancel.sim.scenario import Kind, Scenario, Version
from chancel.wire.drop import Drop


def assert_good(report: Report) -> None:
    """Fail with what went wrong first, and the command that repeats it."""
    shown = "\n".join(str(violation) for violation in report.violations[:10])
    assert report.ok, f"{shown}\nrepeat: {report.scenario.command()}"


def test_equal_seeds_give_equal_runs_and_other_seeds_others() -> None:
    hard = dataclasses.replace(HARD_DAY, hours=4.0, seed=5)
    assert run(hard) == run(hard)
    assert run(hard).digest != run(dataclasses.replace(hard, seed=6)).digest


def test_a_clean_tunnel_changes_its_keys_each_hour_and_loses_nothing() -> None:
    report = run(Scenario(hours=10.0))
    assert_good(report)
    assert report.lost == 0
    assert report.payloads_delivered == report.payloads_sent
    assert 2 * 10 <= report.keys <= 2 * 11
    quiet = {Drop.NO_KEY, Drop.NO_PEER}
    assert not {reason for drops in report.drops for reason in drops} - quiet - repeats()


def repeats() -> set[Drop]:
    """What a fragment that is repeated until it is known to have come is dropped as."""
    return {Drop.OFFER_ALREADY_DONE, Drop.OFFER_FRAGMENT_SEEN, Drop.OFFER_UNEXPECTED}


def test_ten_days_of_hourly_key_changes_with_loss() -> None:
    assert_good(run(dataclasses.replace(YEAR, hours=240.0)))


@pytest.mark.parametrize("scenario", list(hard_days(range(1, 13))), ids=Scenario.command)
def test_a_hard_day(scenario: Scenario) -> None:
    report = run(scenario)
    assert_good(report)
    assert report.restarts > 0


@pytest.mark.parametrize("left", list(Kind))
@pytest.mark.parametrize("right", list(Kind))
def test_every_combination_of_behaviours_comes_up_and_changes_keys(left: Kind, right: Kind) -> None:
    report = run(Scenario(hours=5.0, kinds=(left, right)))
    assert_good(report)
    assert report.payloads_delivered == report.payloads_sent


LEGACY_DAY = dataclasses.replace(HARD_DAY, version=Version.LEGACY)


@pytest.mark.parametrize("fragment_loss", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_hard_day_with_the_wire_of_release_0_9(seed: int, fragment_loss: float) -> None:
    report = run(dataclasses.replace(LEGACY_DAY, seed=seed, fragment_loss=fragment_loss))
    assert_good(report)
    assert report.restarts > 0


@pytest.mark.parametrize("left", list(Kind))
@pytest.mark.parametrize("right", list(Kind))
def test_release_0_9_comes_up_and_changes_keys_with_loss(left: Kind, right: Kind) -> None:
    scenario = Scenario(hours=5.0, loss=0.02, kinds=(left, right), version=Version.LEGACY)
    report = run(scenario)
    assert report.keys >= 2 * 5
    # The reference forgets its window and the old key at each change (protocol sections 8 and 9).
    forgives = {Rule.REFUSED, Rule.REPEATED} if Kind.REFERENCE in (left, right) else set()
    assert {violation.rule for violation in report.violations} <= forgives


@pytest.mark.parametrize("kinds", [("chancel", "reference"), ("reference", "chancel")])
def test_a_hard_day_with_the_reference_repeats_no_nonce_and_comes_back(
    kinds: tuple[str, str],
) -> None:
    left, right = kinds
    pair = dataclasses.replace(HARD_DAY, seed=3, kinds=(Kind(left), Kind(right)))
    broken = {violation.rule for violation in run(pair).violations}
    # The reference forgets its window and the old key at each change (protocol sections 8 and 9).
    assert broken <= {Rule.REFUSED, Rule.REPEATED}


def test_the_scenario_prints_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = dataclasses.replace(
        HARD_DAY,
        seed=77,
        hours=0.5,
        fragment_loss=0.3,
        latency_s=0.125,
        payload_every_s=7.0,
        nat="symmetric",
        kinds=(Kind.CHANCEL, Kind.REFERENCE),
        version=Version.LEGACY,
    )
    ran = list[Scenario]()

    def keep(scenario: Scenario, _: object) -> Report:
        ran.append(scenario)
        return run(scenario)

    monkeypatch.setattr(command, "run", keep)
    app = typer.Typer()
    app.command("pair")(command.pair)
    words = scenario.command().split()
    assert words[:3] == ["chancel", "sim", "pair"]
    CliRunner().invoke(app, words[3:], catch_exceptions=False)
    assert ran == [scenario]


def test_the_command_ends_with_status_1_and_the_repeating_command_when_a_rule_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    violation = Violation(1.5, "left", Rule.REFUSED, "made up")

    def broken(scenario: Scenario, _: object) -> Report:
        return dataclasses.replace(run(scenario), violations=(violation,))

    monkeypatch.setattr(command, "run", broken)
    app = typer.Typer()
    app.command("pair")(command.pair)
    result = CliRunner().invoke(app, ["--seed", "9", "--hours", "0.1"])
    assert result.exit_code == 1
    assert "repeat: chancel sim pair --seed 9 --hours 0.1" in result.output
    assert str(violation) in result.output


@pytest.mark.parametrize("words", [["--behaviour", "sanctum"], ["--nat", "cone"]])
def test_the_command_refuses_what_it_does_not_know(words: list[str]) -> None:
    app = typer.Typer()
    app.command("pair")(command.pair)
    assert CliRunner().invoke(app, words).exit_code == 2


def test_a_campaign_runs_in_several_processes() -> None:
    scenarios = [Scenario(seed=seed, hours=0.1) for seed in (1, 2, 3)]
    reports = sorted(run_all(scenarios, jobs=2), key=lambda report: report.scenario.seed)
    assert reports == [run(scenario) for scenario in scenarios]


def test_a_crash_says_how_to_repeat_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: Pair) -> None:
        raise LocalProtocolError("made up")

    monkeypatch.setattr(Pair, "start", crash)
    with pytest.raises(LocalProtocolError) as crashed:
        run(Scenario(seed=4))
    assert crashed.value.__notes__ == ["repeat: chancel sim pair --seed 4"]


def test_a_suspended_end_comes_back_by_itself() -> None:
    pair = Pair(Scenario(hours=2.0))
    pair.start()
    pair.clock.run_until(600.0)
    pair.left.suspend(400.0)
    pair.clock.run_until(1000.0)
    pair.ledger.expect_up(10.0)
    pair.clock.run_until(3600.0)
    assert_good(pair.report())


def test_randomness_is_drawn_from_the_seed_alone() -> None:
    state = random.getstate()
    run(Scenario(hours=0.1))
    assert random.getstate() == state
