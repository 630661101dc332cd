"""``chancel sim heresy``: devices at a malicious cathedral; a failing run says how to repeat it."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from chancel.sim.heresies import NAMES
from chancel.sim.heresy import Outcome, case, run, run_all

MAX_SHOWN = 10
"""How many problems of one run are printed."""
_TELL_S = 1.0


def heresy(
    seed: Annotated[
        int | None, typer.Option(help="One run, told in full. Equal seeds give equal runs.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="So many seeds, without --seed.")] = 200,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
    heresies: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help=f"Not the seed's own: {', '.join(NAMES)}."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Simulate pairs at cathedrals that do evil; exit status 1 if anything gave way.

    A failing run prints the command that repeats it.

    \b
    Examples:
      chancel sim heresy --runs 1000
      chancel sim heresy --seed 7 --heresies lies-victims,replays
    """
    names = _names(heresies)
    if seed is not None:
        outcome = run(case(seed, names))
        _tell(outcome)
        raise typer.Exit(0 if outcome.ok else 1)
    cases = [case(each, names) for each in range(first_seed, first_seed + runs)]
    started = told = time.monotonic()
    failed = 0
    for number, outcome in enumerate(run_all(cases, jobs), 1):
        failed += not outcome.ok
        _print_problems(outcome)
        now = time.monotonic()
        if now - told >= _TELL_S or number == runs:
            told = now
            _say(f"{number}/{runs} runs, {failed} failed, {now - started:.0f} s")
    typer.echo(f"{runs} runs, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = text.split(",")
    for each in names:
        if each not in NAMES:
            raise typer.BadParameter(
                f"{each!r} is none of {', '.join(NAMES)}", param_hint="--heresies"
            )
    return names


def _tell(outcome: Outcome) -> None:
    given = outcome.case
    kind = "tunnels of the library" if given.tunnels else "sessions"
    typer.echo(f"two {kind} at {given.scenario.cathedrals} cathedrals: {given.scenario}")
    typer.echo(f"heretics {given.heretics}: {', '.join(given.names)}")
    typer.echo(f"honest for a while first: {given.virtue}, never repent: {given.escape}")
    typer.echo(f"direct before: {outcome.was_direct}; {outcome.events:,} events")
    typer.echo(f"once all was well packets passed after {outcome.works_s:.1f} s")
    _print_problems(outcome)


def _print_problems(outcome: Outcome) -> None:
    problems = outcome.problems
    if problems:
        typer.echo(f"\n{len(problems)} problems; repeat: {outcome.case.command()}")
        for problem in problems[:MAX_SHOWN]:
            typer.echo(f"  {problem}")


def _say(line: str) -> None:
    """Passing progress: over itself on a terminal, as lines in a log."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)
