"""A pool runs in another Python as it does in this one, and a program that can't says why."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chancel.errors import LocalProtocolError
from chancel.sim import network_command, network_elsewhere
from chancel.sim.network_long import Long, saved
from chancel.sim.network_run import interpreter, run
from chancel.sim.network_scenario import NetworkScenario

SCENARIO = NetworkScenario(hours=0.1, devices=16, cathedrals=4, pools=2, loss=0.02, churn_s=200.0)

PYTHONS = [sys.executable, *filter(None, [os.environ.get("CHANCEL_TEST_PYTHON")])]
"""This one, and another one that somebody names (PyPy), with numpy and cryptography."""


@pytest.mark.parametrize("program", PYTHONS)
def test_a_pool_has_the_same_events_elsewhere(program: str) -> None:
    """All is compared but the time it takes."""
    elsewhere = network_elsewhere.find(Path(program))
    assert (elsewhere.name == interpreter()) == (program == sys.executable)
    told: list[tuple[int, float]] = []
    report = elsewhere.run(SCENARIO, 2, lambda pool, done_s: told.append((pool, done_s)))
    here = run(SCENARIO)
    assert [dataclasses.replace(pool, cpu_s=0.0) for pool in report.pools] == [
        dataclasses.replace(pool, cpu_s=0.0) for pool in here.pools
    ]
    for number in range(SCENARIO.pools):
        steps = [done_s for pool, done_s in told if pool == number]
        assert steps == sorted(steps)
        assert steps[-1] == SCENARIO.hours * 3600.0


def script(folder: Path, text: str) -> Path:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'exec "{sys.executable}" -S "$@"', "No module named '"),
        ("exit 0", "it says nothing"),
        ("echo Usage >&2; exit 2", "Usage"),
    ],
)
def test_a_program_that_lacks_something_says_what(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(LocalProtocolError, match=problem) as refused:
        network_elsewhere.find(script(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_program_that_there_is_not(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(network_command.long)
    with pytest.raises(LocalProtocolError, match="can't be started"):
        CliRunner().invoke(app, ["day", "--python", f"{tmp_path}/none"], catch_exceptions=False)


def test_a_run_is_kept_with_the_name_of_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_command, "SCENARIOS", {Long.DAY: SCENARIO})
    app = typer.Typer()
    app.command()(network_command.long)
    words = ["day", "-o", str(tmp_path), "--python", sys.executable]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    figures = saved(Long.DAY, tmp_path)
    assert figures is not None
    assert figures["python"] == interpreter()
    assert figures["digests"] == [pool.digest for pool in run(SCENARIO).pools]


def test_a_pool_that_fails_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = script(tmp_path, "echo because >&2; exit 1")
    with pytest.raises(LocalProtocolError, match="chancel sim network --hours"):
        network_elsewhere.Elsewhere(program, "none").run(SCENARIO)
    assert "because" in capfd.readouterr().err
