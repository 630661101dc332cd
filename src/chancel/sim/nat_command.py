"""``chancel sim nat-matrix``: every pair of NATs, as tables for people and the documentation."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from chancel.sim.nat_matrix import ENDS, Met, Summary, cells, run_all, summarise
from chancel.sim.places import PLACES, can_be_direct, can_connect

Key = tuple[str, str, str]

TITLES: Final = {
    "ours": "two ends of ours, at a cathedral of ours",
    "ours, judged": "the same, told of judged addresses alone, as by a reference cathedral",
    "ours and reference": "an end of ours (left) and a simulated reference",
}
HEAD: Final = """\
# Every pair of NATs

Made by `make nat-matrix`: {seeds} simulated meetings of each ordered pair, medians. The first
number is the time from power on to a tunnel that works, relayed at first; the second that to a
direct path. *No way*: theory has none without guessing ports. *No path*: UDP is blocked, which
`chancel status --why` says. What the places are is in `chancel.sim.places`; how two ends of ours
get direct so fast, and through more NATs, is
[decision 019](decisions/019-paths-are-tried-at-once.md).

"""
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
        Path | None, typer.Option("-o", "--output", metavar="FILE.md", help="Write the tables.")
    ] = None,
) -> None:
    """Have two devices meet behind every pair of NATs; exit status 1 if one fails that need not.

    A failing run prints the command that repeats it.

    \b
    Examples:
      chancel sim nat-matrix --seeds 1
      chancel sim nat-matrix --pair symmetric,restricted
    """
    todo = cells(range(first_seed, first_seed + seeds), _ends(ends), _pair(pair))
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
    tables = page(summarise(results))
    if output is None:
        typer.echo(tables)
    else:
        output.write_text(_head(seeds) + tables)
    typer.echo(f"{len(todo)} runs, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def page(summaries: Mapping[Key, Summary]) -> str:
    """The tables in Markdown: one for each kind of ends, left places down, right ones across."""
    parts = []
    for ends in ENDS:
        of_these = {
            (left, right): s for (left, right, each), s in summaries.items() if each == ends
        }
        if of_these:
            parts.append(_table(ends, of_these))
    return "\n".join(parts)


def _table(ends: str, summaries: Mapping[tuple[str, str], Summary]) -> str:
    lefts = [place for place in PLACES if any(left == place for left, _ in summaries)]
    rights = [place for place in PLACES if any(right == place for _, right in summaries)]
    lines = [
        f"## {TITLES[ends]}",
        "",
        f"| left \\ right | {' | '.join(rights)} |",
        f"|---|{'---|' * len(rights)}",
    ]
    for left in lefts:
        row = [
            _said(left, right, summaries[left, right]) if (left, right) in summaries else ""
            for right in rights
        ]
        lines.append(f"| **{left}** | {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def _said(left: str, right: str, summary: Summary) -> str:
    """Seconds to the first tunnel, and to a direct path."""
    if summary.up_s is None:
        return "no path"
    if summary.direct_s is not None:
        some = f", {summary.relayed:.0%} relayed" if summary.relayed else ""
        return f"{summary.up_s:.1f} → {summary.direct_s:.1f} s{some}"
    way = "" if can_be_direct(PLACES[left], PLACES[right]) else ", no way"
    return f"{summary.up_s:.1f} s, relayed{way if can_connect(PLACES[left], PLACES[right]) else ''}"


def _head(seeds: int) -> str:
    return HEAD.format(seeds=seeds)


def _ends(chosen: Sequence[str] | None) -> Sequence[str]:
    for each in chosen or ():
        if each not in ENDS:
            raise typer.BadParameter(f"expected some of {'; '.join(ENDS)}", param_hint="--ends")
    return chosen or tuple(ENDS)


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    left, _, right = text.partition(",")
    if left not in PLACES or right not in PLACES:
        raise typer.BadParameter(f"expected LEFT,RIGHT of {', '.join(PLACES)}", param_hint="--pair")
    return left, right


def _say(line: str) -> None:
    """Passing progress: over itself on a terminal, as lines in a log."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)
