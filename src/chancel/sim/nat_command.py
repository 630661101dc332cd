"""``chancel sim nat-matrix``: every pair of NATs, as tables for people and the documentation."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from chancel.sim.nat_matrix import ENDS, Met, cells, run_all, summarise
from chancel.sim.nat_page import page, tables
from chancel.sim.nat_picture import draw
from chancel.sim.places import NEIGHBOURS, PLACES

_TELL_S = 1.0


def nat_matrix(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each pair.")] = 20,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
    pair: Annotated[
        str | None, typer.Option(metavar="LEFT,RIGHT", help=f"Of {', '.join(PLACES)}.")
    ] = None,
    ends: Annotated[
        list[str] | None, typer.Option(metavar="ENDS", help=f"Some of {'; '.join(ENDS)}.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.md", help="Write a page, and a picture beside it."
        ),
    ] = None,
) -> None:
    """Have two devices meet behind every pair of NATs; exit status 1 if one fails that need not.

    A failing run prints the command that repeats it.

    \b
    Examples:
      chancel sim nat-matrix --seeds 1
      chancel sim nat-matrix --pair symmetric,restricted
    """
    every_seed = range(first_seed, first_seed + seeds)
    todo = cells(every_seed, _ends(ends), _pair(pair))
    started = told = time.monotonic()
    results: list[Met] = []
    failed = 0
    for met in run_all(todo, jobs):
        results.append(met)
        if met.problems:
            failed += 1
            typer.echo(f"{'; '.join(met.problems)}; repeat: {met.cell.command()}")
        now = time.monotonic()
        if now - told >= _TELL_S or len(results) == len(todo):
            told = now
            _say(f"{len(results)}/{len(todo)} runs, {failed} failed, {now - started:.0f} s")
    summaries = summarise(results)
    if output is None:
        typer.echo(tables(summaries))
    else:
        output.write_text(page(summaries, every_seed))
        ours = {(left, right): s for (left, right, each), s in summaries.items() if each == "ours"}
        output.with_suffix(".svg").write_text(draw(ours))
    typer.echo(f"{len(todo)} runs, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _ends(chosen: Sequence[str] | None) -> Sequence[str]:
    for each in chosen or ():
        if each not in ENDS:
            raise typer.BadParameter(f"expected some of {'; '.join(ENDS)}", param_hint="--ends")
    return chosen or tuple(ENDS)


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    left, _, right = text.partition(",")
    if {left, right} <= PLACES.keys() or (left == right and left in NEIGHBOURS):
        return left, right
    known = f"{', '.join(PLACES)}, or twice one of {', '.join(NEIGHBOURS)}"
    raise typer.BadParameter(f"expected LEFT,RIGHT of {known}", param_hint="--pair")


def _say(line: str) -> None:
    """Passing progress: over itself on a terminal, as lines in a log."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)
