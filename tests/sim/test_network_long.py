"""The long runs: their figures are kept, and are what ``docs/scale.md`` tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chancel.sim import network_command
from chancel.sim.ledger import Rule, Violation
from chancel.sim.network_long import SCENARIOS, Long, save, saved
from chancel.sim.network_long_page import long_runs
from chancel.sim.network_run import even_jobs, interpreter, run
from chancel.sim.network_scenario import Crypto, NetworkScenario

DOCS = Path(__file__).parents[2] / "docs"


def small(long: Long) -> dict[Long, NetworkScenario]:
    return {long: dataclasses.replace(SCENARIOS[long], devices=10, hours=0.2)}


def test_they_are_what_was_asked_for() -> None:
    hour, day = SCENARIOS[Long.HOUR], SCENARIOS[Long.DAY]
    assert (hour.devices, hour.cathedrals, hour.hours) == (1000, 10, 1.0)
    assert (day.devices, day.cathedrals, day.hours) == (1000, 10, 24.0)
    assert (hour.crypto, day.crypto) == (Crypto.REAL, Crypto.FAST)


def test_a_day_with_real_crypto_has_the_same_events() -> None:
    scenario = small(Long.DAY)[Long.DAY]
    digests = [
        [pool.digest for pool in run(dataclasses.replace(scenario, crypto=crypto)).pools]
        for crypto in Crypto
    ]
    assert digests[0] == digests[1]


def test_pools_side_by_side_have_the_same_events_as_one_after_the_other() -> None:
    scenario = small(Long.DAY)[Long.DAY]
    one, two = run(scenario, 1), run(scenario, 2)
    assert [pool.digest for pool in one.pools] == [pool.digest for pool in two.pools]
    assert one.loads == two.loads


@pytest.mark.parametrize(
    ("pools", "processors", "jobs"),
    [(1, 2, 1), (2, 2, 2), (4, 2, 2), (5, 2, 3), (5, 1, 1), (5, 8, 5), (7, 4, 7), (9, 4, 5)],
)
def test_processors_are_busy_to_the_end(pools: int, processors: int, jobs: int) -> None:
    assert even_jobs(pools, processors) == jobs


@pytest.mark.parametrize("long", Long)
def test_a_run_is_kept_and_told(
    long: Long, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_command, "SCENARIOS", small(long))
    app = typer.Typer()
    app.command()(network_command.long)
    done = CliRunner().invoke(app, [long, "-o", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    figures = saved(long, tmp_path)
    assert figures is not None
    assert figures["command"] in done.output.replace("\n", "")
    text = long_runs(tmp_path)
    assert f"](scale-{long}.svg)" in text
    assert (tmp_path / f"scale-{long}.svg").is_file()
    assert figures["command"] in text
    assert f"| datagrams | {figures['datagrams']:,} |" in text
    assert f"in {interpreter()} |" in text
    (other,) = set(Long) - {long}
    assert f"**The {other}** is not kept" in text


def test_broken_rules_are_told(tmp_path: Path) -> None:
    scenario = dataclasses.replace(small(Long.HOUR)[Long.HOUR], cathedrals=1, deaths=0, splits=0)
    report = run(dataclasses.replace(scenario, crypto=Crypto.FAST))
    (pool,) = report.pools
    worse = dataclasses.replace(pool, violations=(Violation(1.0, "one", Rule.SILENT, ""),) * 2)
    save(dataclasses.replace(report, pools=(worse,)), 1.0, "CPython", Long.HOUR, tmp_path)
    assert "| broken rules | 2 |" in long_runs(tmp_path)


def test_the_page_tells_what_is_kept() -> None:
    assert long_runs(DOCS) in (DOCS / "scale.md").read_text()
    for long in Long:
        if (figures := saved(long, DOCS)) is not None:
            assert figures["command"] == SCENARIOS[long].command()
