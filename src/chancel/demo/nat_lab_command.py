"""``chancel lab nat-matrix``: every pair of NATs with real daemons, beside the reference."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chancel.daemon import places as whose
from chancel.demo.nat_lab import LABS, SUBSET, Became, Case, cases, perform_all
from chancel.demo.nat_lab_compare import ROUNDS, Table, again
from chancel.demo.nat_lab_page import Conditions, page, said
from chancel.demo.programs import CHANCEL, PlayError, Program, reference
from chancel.sim.places import NEIGHBOURS, PLACES

_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


def nat_matrix(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="PLACE", help="Instead of the usual ones.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Runs of a pair in which ours came later than the reference.")
    ] = ROUNDS,
    jobs: Annotated[int, typer.Option(min=1, help="Labs at once.")] = LABS,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.md", help="Write a page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All runs, for a script.")] = False,
) -> None:
    """Have real daemons meet behind every pair of NATs; exit status 1 if one fails that need not,
    or is slower than the reference.

    As root with SANCTUM=/path/to/sanctum the reference takes part.

    \b
    Examples:
      chancel lab nat-matrix symmetric restricted
      sudo SANCTUM=/path/to/sanctum chancel lab nat-matrix -o nat-lab.md
    """
    names = places or [*SUBSET, *NEIGHBOURS]
    if unknown := set(names) - {*PLACES, *NEIGHBOURS}:
        raise typer.BadParameter(f"no places: {', '.join(sorted(unknown))}")
    programs = _programs()
    conditions = Conditions(jobs, rounds, os.getloadavg()[0])
    results = _perform(cases(names, programs), jobs)
    doubtful = Table(results).doubtful()
    results += _perform(again(doubtful, programs, rounds), jobs)
    slower = Table(results).slower()
    if output is not None:
        output.write_text(page(results, names, conditions))
    if as_json:
        typer.echo(json.dumps({"runs": [*map(_figures, results)], "slower": slower}, indent=2))
    elif output is None:
        typer.echo(page(results, names, conditions))
    wrong = [*(_told(each) for each in results if _is_ours(each) and each.problems), *slower]
    for problem in wrong:
        typer.echo(problem, err=True)
    typer.echo(f"{len(results)} runs, {len(wrong)} problems", err=True)
    raise typer.Exit(1 if wrong else 0)


def _perform(todo: Sequence[Case], jobs: int) -> list[Became]:
    """Perform them; each says what became of it on standard error, below a bar on a terminal."""
    if not todo:
        return []
    console = Console(stderr=True, highlight=False)
    results = []
    bar = Progress(*_COLUMNS, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("pairs of places", total=len(todo))
        for became in perform_all(todo, jobs):
            results.append(became)
            bar.advance(task)
            count = f"{len(results)}/{len(todo)}"
            console.print(f"{count}: {_told(became)}", markup=False, soft_wrap=True)
    return results


def _told(became: Became) -> str:
    case = became.case
    what = "; ".join(became.problems)
    if not what:
        figures = Table([became]).figures((case.left, case.right), case.program)
        what = said(figures)
    return f"{case.left}, {case.right}, {case.program.name}: {what}"


def _figures(became: Became) -> dict[str, Any]:
    case = became.case
    return {
        "left": case.left,
        "right": case.right,
        "program": case.program.name,
        "up_s": became.up_s,
        "direct_s": became.direct_s,
        "problems": became.problems,
    }


def _is_ours(became: Became) -> bool:
    return became.case.program is CHANCEL


def _programs() -> list[Program]:
    """Ours, and the reference if it can take part; says why not if it was named in vain."""
    path = os.environ.get("SANCTUM")
    if not path:
        return [CHANCEL]
    if not os.access(path, os.X_OK):
        raise PlayError(f"SANCTUM={path} is no program that can be run")
    if not whose.is_machine_root():
        typer.echo("lab: the reference needs root, and is left out", err=True)
        return [CHANCEL]
    return [CHANCEL, reference(path)]
