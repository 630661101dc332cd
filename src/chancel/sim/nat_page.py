"""The matrix of NATs as a page for people: what each place is, what to expect, and the figures."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from chancel.sim.nat_matrix import ENDS, Summary
from chancel.sim.places import NEIGHBOURS, PLACES, can_be_direct, place

Key = tuple[str, str, str]
"""Left place, right place, and ends."""
Pair = tuple[str, str]

TITLES: Final = {
    "ours": "Two devices of ours, at a cathedral of ours",
    "ours, judged": "The same, told of judged addresses alone, as by a reference cathedral",
    "ours and reference": "A device of ours (left) and a simulated reference (right)",
}

_MADE: Final = """\
*Made by `make nat-matrix`: {runs} simulated meetings of each ordered pair of places (seeds {first}
to {last}), medians of virtual time, which is the same on every machine; this one had {machine}. It
is the protocol's own code, its real cryptography replaced. With real daemons on kernels, and beside
the reference: [nat-lab.md](nat-lab.md). How two devices of ours get direct so fast:
[decision 019](decisions/019-paths-are-tried-at-once.md).*"""

_HEAD: Final = """\
# Every kind of NAT

{made}

![A grid of pairs of places: green where the devices go direct, yellow where they are relayed, grey\
 where nothing passes](nat.svg)

## What to expect

* **You have to set up nothing.** A tunnel comes up through a cathedral in about a second, and what
  can be direct is direct before you notice.
* **Two homes: direct.** Ordinary home routers, carriers with DS-Lite and 4G or 5G routers that keep
  to one port, in every combination.
* **A public address at one end: always direct**, whatever is at the other end.
* **A company, hotel or cloud that changes ports** (symmetric): direct with everybody whose router
  lets any port of a known host in; relayed by the cathedral with the others. Relayed tunnels work,
  and the cathedral can't read them. One forwarded UDP port at either end makes them direct.
* **In one home or at one carrier:** direct if the router sends packets back in (hairpin), else
  relayed. Devices don't tell each other their inner addresses, as no message of the protocol has
  room for them; give them (`peer IP:PORT`) to devices that always stay in one network.
* **UDP blocked:** nothing passes, and `chancel status --why` says so.

## The places

| place | what it is |
|---|---|
{places}

Two devices that share a router:

| place of both | what it is |
|---|---|
{neighbours}

## How to read the tables

*1.1 → 1.2 s*: seconds from power on to a tunnel that works, which is relayed at first, and to a
direct one. *No way*: without guessing ports there is none, says theory (RFC 4787, RFC 5128), which
each run is judged against. *No path*: not even a relayed one. A router that is *clashing* depends
on who is first: at one cathedral both ends are told at the same moment, and each opens its own
router before the other's packet gets there; at two, it is a matter of milliseconds, and otherwise
stays relayed.

"""


def page(summaries: Mapping[Key, Summary], seeds: range) -> str:
    """The whole page."""
    made = _MADE.format(runs=len(seeds), first=seeds[0], last=seeds[-1], machine=machine())
    head = _HEAD.format(made=paragraph(made), places=_list(PLACES), neighbours=_list(NEIGHBOURS))
    return head + tables(summaries)


def machine() -> str:
    """This machine, in a few words."""
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{os.cpu_count()} cores, {system} and Python {platform.python_version()}"


def paragraph(text: str) -> str:
    """In lines as long as those of the other pages."""
    return textwrap.fill(text, 100, break_on_hyphens=False, break_long_words=False)


def tables(summaries: Mapping[Key, Summary]) -> str:
    """The tables alone: for each kind of ends one with left places down and right ones across, and
    one of neighbours."""
    parts = []
    for ends in ENDS:
        found = {(left, right): s for (left, right, each), s in summaries.items() if each == ends}
        if found:
            parts += [f"## {TITLES[ends]}", ""]
            parts += [*_grid(found), *_neighbours(found)]
    return "\n".join(parts)


def said(pair: Pair, summary: Summary) -> str:
    """One pair's outcome in a few words."""
    if summary.up_s is None:
        return "no path"
    if summary.direct_s is not None:
        some = f", {summary.relayed:.0%} relayed" if summary.relayed else ""
        return f"{summary.up_s:.1f} → {summary.direct_s:.1f} s{some}"
    way = "" if can_be_direct(place(pair[0]), place(pair[1])) else ", no way"
    return f"{summary.up_s:.1f} s, relayed{way}"


def chosen(names: Sequence[str], found: Sequence[str]) -> list[str]:
    """Those of the names that were found, in the order of the names."""
    return [name for name in names if name in found]


def _list(places: Mapping[str, object]) -> str:
    return "\n".join(f"| **{name}** | {place(name).says} |" for name in places)


def _grid(found: Mapping[Pair, Summary]) -> list[str]:
    lefts = chosen([*PLACES], [left for left, _ in found])
    rights = chosen([*PLACES], [right for _, right in found])
    if not lefts:
        return []
    lines = [f"| left \\ right | {' | '.join(rights)} |", f"|---|{'---|' * len(rights)}"]
    for left in lefts:
        row = [
            said((left, right), found[left, right]) if (left, right) in found else ""
            for right in rights
        ]
        lines.append(f"| **{left}** | {' | '.join(row)} |")
    return [*lines, ""]


def _neighbours(found: Mapping[Pair, Summary]) -> list[str]:
    names = chosen([*NEIGHBOURS], [left for left, _ in found])
    if not names:
        return []
    rows = [f"| **{name}** | {said((name, name), found[name, name])} |" for name in names]
    return ["| place of both | outcome |", "|---|---|", *rows, ""]
