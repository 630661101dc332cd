"""The NATs of the lab as a page: ours beside the reference, pair by pair.

    python -m chancel.demo.nat_lab_page -o docs/nat-lab.md

As root with ``SANCTUM=/path/to/sanctum`` the reference takes part.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from chancel.daemon import places as whose
from chancel.demo.nat_lab import SUBSET, Became, cases, perform_all, slower
from chancel.demo.programs import CHANCEL, Program, reference
from chancel.sim.places import NEIGHBOURS, PLACES

_HEAD: Final = """\
# Every kind of NAT, with real daemons

*Made by `make nat-lab`: one run of each pair on kernels of their own, several at once, so seconds
are those of a busy machine. What the places are, and what to expect: [nat.md](nat.md).*

Seconds from the start of both devices, Python's own included: until a ping came back through the
tunnel, and until all of it was seen to go straight to the peer. {who}

"""
_WITH: Final = "The cathedral and both devices are either all ours or all the reference's."
_ALONE: Final = "The reference was not there to be compared with."


def main(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PLACE]...", help="Instead of the usual ones.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.md", help="Write a page.")
    ] = None,
) -> None:
    """Have real daemons meet behind every pair of NATs; exit status 1 if one fails that need not,
    or is slower than the reference."""
    names = places or [*SUBSET, *NEIGHBOURS]
    if unknown := set(names) - {*PLACES, *NEIGHBOURS}:
        raise typer.BadParameter(f"no places: {', '.join(sorted(unknown))}")
    programs = _programs()
    todo = cases(names, programs)
    started = time.monotonic()
    results: list[Became] = []
    for became in perform_all(todo):
        results.append(became)
        case = became.case
        said = "; ".join(became.problems) or _said(became)
        spent_s = time.monotonic() - started
        print(
            f"{len(results)}/{len(todo)}, {spent_s:.0f} s: {case.left} and {case.right},"
            f" {case.program.name}: {said}",
            file=sys.stderr,
        )
    text = page(results, names)
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text)
    wrong = [problem for became in results for problem in became.problems] + slower(results)
    for problem in wrong:
        typer.echo(problem)
    typer.echo(f"{len(todo)} runs, {len(wrong)} problems")
    raise typer.Exit(1 if wrong else 0)


def page(results: Sequence[Became], names: Sequence[str]) -> str:
    """The page; rows in the order of the names."""
    who = list(dict.fromkeys(each.case.program.name for each in results))
    who.sort(key=lambda name: name != CHANCEL.name)
    found = {(each.case.left, each.case.right, each.case.program.name): each for each in results}
    lines = [f"| places | {' | '.join(who)} |", f"|---|{'---|' * len(who)}"]
    pairs = dict.fromkeys((each.case.left, each.case.right) for each in results)
    for left, right in sorted(pairs, key=lambda pair: tuple(map(names.index, pair))):
        keys = [(left, right, name) for name in who]
        cells = [_said(found[key]) if key in found else "" for key in keys]
        where = left if left in NEIGHBOURS else f"{left}, {right}"
        lines.append(f"| {where} | {' | '.join(cells)} |")
    shares = [f"{name} {_relayed(results, name):.0%}" for name in who]
    lines += ["", f"Share relayed, of the pairs that come up: {', '.join(shares)}."]
    head = _HEAD.format(who=_WITH if len(who) > 1 else _ALONE)
    return head + "\n".join(lines) + "\n"


def _said(became: Became) -> str:
    if became.up_s is None:
        return "no path" if not became.problems else "failed"
    if became.direct_s is None:
        return f"{became.up_s:.1f} s, relayed"
    return f"{became.up_s:.1f} → {max(became.up_s, became.direct_s):.1f} s"


def _relayed(results: Sequence[Became], name: str) -> float:
    up = [each for each in results if each.case.program.name == name and each.up_s is not None]
    return sum(each.direct_s is None for each in up) / len(up) if up else 0.0


def _programs() -> list[Program]:
    path = os.environ.get("SANCTUM")
    return [CHANCEL, reference(path)] if path and whose.is_machine_root() else [CHANCEL]


if __name__ == "__main__":
    typer.run(main)
