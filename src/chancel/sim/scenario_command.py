"""``chancel sim run``: a scenario file in virtual time."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from chancel.sim.network_scenario import Crypto
from chancel.sim.scenario_events import Line, canonical
from chancel.sim.scenario_file import load
from chancel.sim.scenario_run import run


def run_(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="See docs/scenarios.md.")],
    crypto: Annotated[Crypto, typer.Option(help="Primitives that protect, or fast ones.")] = (
        Crypto.REAL
    ),
    as_json: Annotated[bool, typer.Option("--json", help="What happened, for a script.")] = False,
) -> None:
    """Run a scenario of devices and cathedrals; exit status 1 if it went otherwise than expected.

    Example: chancel sim run examples/scenarios/split_that_heals.toml
    """
    outcome = run(load(file), crypto)
    if as_json:
        told = figures(outcome.lines, outcome.problems) | {"digest": outcome.digest}
        typer.echo(json.dumps(told, indent=2))
    else:
        for line in outcome.lines:
            typer.echo(line)
    for problem in outcome.problems:
        typer.echo(f"{file}: {problem}", err=True)
    if outcome.problems:
        again = shlex.join(["chancel", "sim", "run", str(file), "--crypto", crypto])
        typer.echo(f"repeat: {again}", err=True)
    raise typer.Exit(1 if outcome.problems else 0)


def figures(lines: Iterable[Line], problems: Sequence[str]) -> dict[str, object]:
    """What a script is told of a run, here or in the lab."""
    told = tuple(lines)
    return {
        "problems": problems,
        "lines": [line._asdict() for line in told],
        "canonical": [
            {"who": who, "peer": peer, "what": words}
            for (who, peer), words in canonical(told).items()
        ],
    }
