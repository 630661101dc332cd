"""The part of ``docs/scale.md`` that tells of the long runs, from what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chancel.sim.network_long import SCENARIOS, Long, saved
from chancel.sim.network_scenario import Crypto


def long_runs(folder: Path) -> str:
    """A section with a table and a picture for each run that is kept in this folder."""
    parts = [
        "## An hour and a day of a thousand devices\n",
        "The protocol's own objects, and a ledger for each tunnel that notices each broken rule."
        " With the fast suite, keys and ciphers are stand-ins that cost next to nothing and draw"
        " the same random values, so the events are those with real crypto, to the digest: a test"
        " compares them. `make sim` runs both, and keeps what came of them.\n",
    ]
    for long in Long:
        figures = saved(long, folder)
        if figures is None:
            parts.append(
                f"**The {long}** is not kept here yet: `chancel sim long {long} -o docs`.\n"
            )
        else:
            parts.append("\n".join(_told(long, figures)))
    return "\n".join(parts)


def _told(long: Long, figures: dict[str, Any]) -> Iterator[str]:
    scenario = SCENARIOS[long]
    crypto = "real crypto" if scenario.crypto is Crypto.REAL else "the fast suite"
    pools = "one pool" if scenario.pools == 1 else f"{scenario.pools} pools"
    yield f"**The {long}**, with {crypto}: {scenario.devices:,} devices in pairs,"
    yield f"{scenario.cathedrals} cathedrals in {pools}. Repeat it: `{figures['command']}`\n"
    yield f"![the tunnels of the {long}](scale-{long}.svg)\n"
    yield "| measure | found |"
    yield "|---|---|"
    for name, value in _rows(figures):
        yield f"| {name} | {value} |"
    yield ""


def _rows(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "processor time, and by the clock",
        f"{figures['cpu_s']:,.0f} s, {figures['wall_s']:,.0f} s, in {figures['python']}",
    )
    yield "datagrams", f"{figures['datagrams']:,}"
    yield "events of the protocol", f"{figures['events']:,}"
    yield "broken rules", f"{len(figures['violations'])}"
    up, possible = figures["tunnels_up"], figures["tunnels_possible"]
    yield "tunnels at the end", f"{up} of {possible} up, {figures['relayed_share']:.0%} relayed"
    for name, key in (("time to tunnel", "up_s"), ("time to direct", "direct_s")):
        found = figures[key]
        yield (
            f"{name}, where nothing else befell",
            f"{found['median']:.1f} s, 95% within {found['p95']:.1f} s,"
            f" all within {found['most']:.1f} s",
        )
    for what in sorted({each["what"] for each in figures["recoveries"]}):
        took = [each["took_s"] for each in figures["recoveries"] if each["what"] == what]
        # One that was not seen to end has no number.
        longest = "not seen to end" if None in took else f"{max(took):.1f} s"
        yield f"after: {what}, {len(took)} in all", f"the longest {longest}"
