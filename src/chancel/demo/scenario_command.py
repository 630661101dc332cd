"""``chancel lab run``: a scenario file with real daemons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from chancel.demo.scenario_lab import run
from chancel.sim.scenario_command import figures
from chancel.sim.scenario_events import Line
from chancel.sim.scenario_file import load


def run_(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="See docs/scenarios.md.")],
    as_json: Annotated[bool, typer.Option("--json", help="What happened, for a script.")] = False,
) -> None:
    """Run a scenario with real daemons, each on a kernel's network of its own, in real time; exit
    status 1 if it went otherwise than expected. No root needed.

    As root with SANCTUM=/path/to/sanctum the reference can take part.

    Example: chancel lab run examples/scenarios/two_behind_nat.toml
    """
    scenario = load(file)
    typer.echo(f"lab: it takes {scenario.lasts_s:.0f} s", err=True)
    lines, problems = run(scenario) if as_json else run(scenario, _say)
    if as_json:
        typer.echo(json.dumps(figures(lines, problems), indent=2))
    for problem in problems:
        typer.echo(f"{file}: {problem}", err=True)
    raise typer.Exit(1 if problems else 0)


def _say(line: Line) -> None:
    typer.echo(line)
