"""The NATs of the lab as a page: ours beside the reference, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from chancel.demo.nat_lab import Became
from chancel.demo.nat_lab_compare import Figures, Pair, Table
from chancel.demo.programs import CHANCEL, Program
from chancel.sim.nat_page import machine, paragraph
from chancel.sim.places import NEIGHBOURS

_MADE: Final = """\
*Made by `make nat-lab` on a machine with {machine}, whose load was {load:.1f} before. Each pair was
played on kernels of its own, {labs} at once. What the places are, and what to expect:
[nat.md](nat.md).*"""
_SECONDS: Final = """\
Seconds from the start of both devices, Python's own included: until a ping came back through the
tunnel, and until all of it was seen to go straight to the peer, both ways."""
_WITH: Final = "The cathedral and both devices are either all ours or all the reference's."
_ALONE: Final = "The reference was not there to be compared with."
_COMPARED: Final = """\
A pair is played once. If ours was later than the reference in anything, each plays it {rounds}
times, taking turns, as one run may be wrong by seconds. Then the figures are medians, and ± is half
of what the quickest and the slowest run differ by. Slower is who is so by more than that. **Ours is
slower in {slower}.**"""


class Conditions(NamedTuple):
    """Of all runs: how many at once, how often what is in doubt, and the machine's load before."""

    labs: int
    rounds: int
    load: float


def page(results: Sequence[Became], names: Sequence[str], conditions: Conditions) -> str:
    """The page; rows in the order of the names."""
    table = Table(results)
    who = list(dict.fromkeys(each.case.program for each in results))
    who.sort(key=lambda program: program is not CHANCEL)
    lines = [f"| places | {' | '.join(each.name for each in who)} |", f"|---|{'---|' * len(who)}"]
    asked = {(each.case.left, each.case.right, each.case.program) for each in results}
    for pair in sorted(
        {each[:2] for each in asked}, key=lambda pair: tuple(map(names.index, pair))
    ):
        cells = [said(table.figures(pair, each)) if (*pair, each) in asked else "" for each in who]
        lines.append(f"| {_where(pair)} | {' | '.join(cells)} |")
    shares = [f"{each.name} {_relayed(table, asked, each):.0%}" for each in who]
    lines += ["", f"Share relayed, of the pairs that come up: {', '.join(shares)}."]
    return "\n".join([_head(table, len(who) > 1, conditions), "", *lines, ""])


def said(figures: Figures | None) -> str:
    """What became of a pair, in a few words; ``None``: every run broke off."""
    if figures is None:
        return "failed"
    up, direct = figures
    if up.median_s == math.inf:
        return "no path"
    is_direct = direct.median_s < math.inf
    way = f" → {direct.median_s:.1f} s" if is_direct else " s, relayed"
    if up.runs == 1:
        return f"{up.median_s:.1f}{way}"
    spreads = [each.spread_s for each in (up, direct) if each.median_s < math.inf]
    return f"{up.median_s:.1f}{way} (± {max(spreads):.1f} s, {up.runs} runs)"


def _head(table: Table, compared: bool, conditions: Conditions) -> str:
    made = _MADE.format(machine=machine(), load=conditions.load, labs=conditions.labs)
    parts = [made, f"{_SECONDS} {_WITH if compared else _ALONE}"]
    if compared:
        slower = len(table.slower()) or "none"
        parts.append(_COMPARED.format(rounds=conditions.rounds, slower=slower))
    return "\n\n".join(["# Every kind of NAT, with real daemons", *map(paragraph, parts)])


def _where(pair: Pair) -> str:
    return pair[0] if pair[0] in NEIGHBOURS else ", ".join(pair)


def _relayed(table: Table, asked: set[tuple[str, str, Program]], program: Program) -> float:
    """The share of pairs that stay relayed, of those that come up."""
    every = [table.figures((left, right), each) for left, right, each in asked if each is program]
    up = [each for each in every if each is not None and each.up.median_s < math.inf]
    return sum(each.direct.median_s == math.inf for each in up) / len(up) if up else 0.0
