"""``chancel sim run``: a scenario file in virtual time."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from chancel.sim.network_scenario import Crypto
from chancel.sim.scenario_events import canonical
from chancel.sim.scenario_file import load
from chancel.sim.scenario_run import ScenarioOutcome, run


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
        typer.echo(json.dumps(_figures(outcome), indent=2))
    else:
        for line in outcome.lines:
            typer.echo(line)
    for problem in outcome.problems:
        typer.echo(f"{file}: {problem}", err=True)
    if outcome.problems:
        again = shlex.join(["chancel", "sim", "run", str(file), "--crypto", crypto])
        typer.echo(f"repeat: {again}", err=True)
    raise typer.Exit(1 if outcome.problems else 0)


def _figures(outcome: ScenarioOutcome) -> dict[str, object]:
    return {
        "problems": outcome.problems,
        "digest": outcome.digest,
        "lines": [line._asdict() for line in outcome.lines],
        "canonical": [
            {"who": who, "peer": peer, "what": words}
            for (who, peer), words in canonical(outcome.lines).items()
        ],
    }
