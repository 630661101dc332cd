"""Writes ``docs/scale.md`` and its picture: ``python -m chancel.sim.network_scale_page DOCS``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from chancel.protocol.cathedral.settings import MAX_FEDERATION
from chancel.protocol.registration_pace import INFO_INTERVAL_S
from chancel.sim.network_costs import measure
from chancel.sim.network_long_page import long_runs
from chancel.sim.network_report import NetworkReport, per_cathedral, relayed, spread
from chancel.sim.network_run import run
from chancel.sim.network_scale import (
    DATAGRAM_BYTES,
    PROCESS_BYTES,
    Costs,
    Demand,
    Layout,
    Machine,
    federated_ends,
    largest_mesh,
    lay_out,
    load,
)
from chancel.sim.network_scenario import NetworkScenario
from chancel.sim.network_svg import draw
from chancel.sim.parish_plan import MAX_FLOCK
from chancel.wire.ambry import OWN

STORM: Final = NetworkScenario(
    seed=1, hours=0.5, devices=120, cathedrals=4, loss=0.01, deaths=1, splits=1, rolls=1
)
CROWD: Final = NetworkScenario(seed=1, hours=0.05, devices=200, cathedrals=3, flash=True)
FEDERATIONS: Final = (1, 2, 4, 8)
FEW: Final = NetworkScenario(seed=1, hours=0.2, devices=40, place="public")
SIZES: Final = (10_000, 100_000, 1_000_000)
CATHEDRALS: Final = 2
"""In each pool of the layouts: two, so that one may die."""
SLOWER: Final = 5
"""Infos every 25 s: what NATs of RFC 4787 bear with."""


def page(storm: NetworkReport, costs: Costs, folder: Path) -> str:
    """The whole page; what is kept of the long runs is in ``folder``."""
    parts = (_head(costs), _seen(storm), long_runs(folder), _federation(costs), _layouts(costs))
    return "\n".join((*parts, _limits(costs), _changes(costs)))


def _head(costs: Costs) -> str:
    micro = {field.name: getattr(costs, field.name) * 1e6 for field in dataclasses.fields(costs)}
    machine, bench = Machine(), "`make bench`: 0.66 of a core for 20,022 tunnel ends"
    return f"""\
# How far it scales

Made by `make scale`, from short simulations of the protocol's own objects (`chancel sim network`)
and from what one message costs. The formulas are in `chancel.sim.network_scale`; a test compares
their counts with a simulation. Prices are an assumption: {machine.price:.0f} a month for a machine
with {machine.cores} cores and {machine.memory_bytes / 1e9:.0f} GB, and
{machine.price_per_terabyte:.0f} for each terabyte that it sends. No machine is planned to be more
than {machine.fill:.0%} full.

## What one costs

| what | costs a cathedral | from |
|---|---|---|
| an info, answered | {micro["info_s"]:.0f} µs | {bench} |
| a probe of NAT detection | {micro["probe_s"]:.0f} µs | `make scale`, in proportion to an info |
| an info passed on to others | {micro["passed_on_s"]:.0f} µs, for all of them together | likewise |
| an info that another passed on | {micro["federated_s"]:.0f} µs, both its messages | likewise |
| a relayed gigabyte | {costs.relayed_s_per_byte * 1e9:.2f} s | `make bench` |
| a tunnel end that is known | {costs.tunnel_bytes / 1e3:.2f} KB | `make bench` |
| a flock's bundle of secrets | {OWN.size / 1e6:.2f} MB in a file, and in memory | its format |
| any of these messages | {DATAGRAM_BYTES} bytes on the wire | their format |

Each end of each tunnel sends an info and a probe every {INFO_INTERVAL_S:.0f} s, in whatever state
it is.
"""


def _seen(storm: NetworkReport) -> str:
    crowd = run(CROWD)
    last = storm.samples()[-1]
    rows = [
        ("tunnels", f"{last.up} of {last.possible} up, {relayed(last):.0%} of them relayed"),
        ("time to tunnel", _spread(storm.up_s)),
        ("time to direct, where there is a way", _spread(storm.direct_s)),
        *(
            (f"after: {each.what}", f"{each.took_s:.1f} s, {each.of} concerned")
            for each in storm.recoveries
        ),
        (f"{CROWD.devices} devices that start within a second", _spread(crowd.up_s)),
    ]
    return (
        "## What a network does\n\n"
        f"{STORM.devices} devices in pairs, {STORM.cathedrals} cathedrals, {STORM.loss:.0%} loss,"
        " a mix of NATs as people have them; a cathedral dies, the network is cut in two for three"
        " minutes, all secrets are rolled over. *death*: until the last device of the dead"
        " cathedral has another. *split healed*: until all tunnels are up again. *roll-over*: until"
        f" the last end has the new secret. Repeat it: `{STORM.command()}`\n\n"
        "![the tunnels of a simulated network over time](scale.svg)\n\n"
        + _table(("measure", "simulated"), rows)
    )


def _federation(costs: Costs) -> str:
    rows = []
    for count in FEDERATIONS:
        report = run(dataclasses.replace(FEW, cathedrals=count))
        seconds = FEW.hours * 3600.0
        found = per_cathedral(report.loads, seconds)
        planned = load(Demand(FEW.devices, tunnels=1.0, relayed=0.0), count, costs)
        rows.append(
            (
                f"{count}",
                f"{found['infos_per_s']:.2f}",
                f"{found['federated_per_s']:.2f}",
                f"{planned.federated:.2f}",
                f"{(found['octets_in_per_s'] + found['octets_out_per_s']) / 1e3:.1f}",
                f"{planned.federation_share:.0%}",
            )
        )
    heads = (
        *("cathedrals", "infos/s", "federated/s", "by the formula", "kB/s in and out"),
        "for other cathedrals",
    )
    return (
        "## What federation costs\n\n"
        f"{FEW.devices} devices, each cathedral. Every info is passed on to every other cathedral,"
        " with a word of where the client is: two messages each. So each cathedral of a pool knows"
        " and hears of all its tunnel ends, and a pool of many does hardly more than one of two:"
        " **federation is for staying up, not for growing**. One grows by pools that know nothing"
        " of each other, with whole flocks in each.\n\n"
        + _table(heads, rows)
        + "\nTunnel ends that a pool can have, if each of its cathedrals has one core:\n\n"
        + _table(
            ("cathedrals in the pool", "tunnel ends"),
            [(f"{n}", f"{federated_ends(n, costs):,}") for n in (1, 2, 3, 10, MAX_FEDERATION + 1)],
        )
    )


def _layouts(costs: Costs) -> str:
    machine, demand = Machine(), Demand(0)
    layouts = [lay_out(Demand(size), CATHEDRALS, costs, machine) for size in SIZES]
    heads = ("", *(f"{size:,} devices" for size in SIZES))
    rows = [
        (name, *(_row(layout, machine)[name] for layout in layouts))
        for name in _row(layouts[0], machine)
    ]
    return (
        "## Ten thousand, a hundred thousand, a million devices\n\n"
        f"Each device has {demand.tunnels:.0f} tunnels in a flock of {demand.flock},"
        f" {demand.relayed:.0%} of them can't be direct, each carries"
        f" {demand.bits_s / 1e3:.0f} kbit/s each way on average; pools of {CATHEDRALS} cathedrals,"
        " so that one may die.\n\n" + _table(heads, rows)
    )


def _row(layout: Layout, machine: Machine) -> dict[str, str]:
    each, mega = layout.load, 8 / 1e6
    bundles = layout.bundle_bytes / layout.pools
    return {
        "flocks": f"{layout.demand.flocks:,}",
        "tunnel ends": f"{layout.demand.ends:,.0f}",
        "pools": f"{layout.pools:,}",
        "cathedrals": f"{layout.pools * layout.cathedrals:,}",
        "cores in use, each": f"{each.cores:.2f}",
        "cores, with the other one dead": f"{layout.worst.cores:.2f}",
        "memory, each": f"{each.memory_bytes / 1e6:.0f} MB, {PROCESS_BYTES / 1e6:.0f} fixed",
        "bundles of secrets, each": f"{bundles / 1e6:.0f} MB",
        "bundles, all": f"{layout.bundle_bytes / 1e9:.2f} GB",
        "received, each": f"{each.in_bytes * mega:.1f} Mbit/s",
        "sent, each": f"{each.out_bytes * mega:.1f} Mbit/s",
        "relayed of that, each": f"{each.relayed_bytes * mega:.1f} Mbit/s",
        "money, all, by the month": f"{layout.price(machine):,.0f}",
    }


def _limits(costs: Costs) -> str:
    ends = MAX_FLOCK * (MAX_FLOCK - 1)
    rows = [
        (
            f"{MAX_FLOCK} devices in a flock",
            "a device's number has 8 bits, and two of them are a tunnel's name",
            "a flock is a group of people, not a country; other flocks by `xflock`, pair by pair",
        ),
        (
            f"each with each: {ends:,} ends",
            f"{ends / INFO_INTERVAL_S:,.0f} infos a second, and as many probes",
            f"on one core a flock can be a full mesh of {largest_mesh(costs)} devices,"
            f" on two cores of {largest_mesh(costs, 2.0)}",
        ),
        (
            f"{MAX_FEDERATION + 1} cathedrals in a pool",
            "places in a remembrance; each has to know all others",
            "capacity grows by pools, so this is no limit in practice",
        ),
        (
            "a bundle holds a whole flock",
            f"{OWN.size / 1e6:.2f} MB, however few of its tunnels are used",
            "made and copied to each cathedral of the pool at each roll-over",
        ),
        (
            f"an info every {INFO_INTERVAL_S:.0f} s",
            "for each tunnel end, used or not, direct or not",
            "most of all that a cathedral does",
        ),
    ]
    return "## Where the protocol ends\n\n" + _table(("limit", "why", "what follows"), rows)


def _changes(costs: Costs) -> str:
    most, machine = SIZES[-1], Machine()
    slower = dataclasses.replace(
        costs,
        **{
            name: getattr(costs, name) / SLOWER
            for name in ("info_s", "probe_s", "federated_s", "passed_on_s")
        },
    )
    no_probe = dataclasses.replace(costs, probe_s=0.0)
    changes = [
        ("as it is", lay_out(Demand(most), CATHEDRALS, costs, machine)),
        (
            "one info for each device, with all its tunnels in it",
            lay_out(
                dataclasses.replace(Demand(most), tunnels=1.0, bits_s=Demand(0).tunnels * 2_000.0),
                CATHEDRALS,
                costs,
                machine,
            ),
        ),
        (
            f"infos every {SLOWER * INFO_INTERVAL_S:.0f} s while nothing changes",
            lay_out(Demand(most), CATHEDRALS, slower, machine),
        ),
        (
            "probes only while a NAT is being judged",
            lay_out(Demand(most), CATHEDRALS, no_probe, machine),
        ),
    ]
    rows = [(name, f"{each.pools * each.cathedrals:,}") for name, each in changes]
    return (
        "## What would have to change\n\n"
        "None of this is on the wire today, and each needs both sides. What a million devices would"
        " then take:\n\n"
        + _table(("change", "cathedrals"), rows)
        + """
* **Federation by interest**: a cathedral hears only of tunnels one end of which it has. A pool
  then grows with its cathedrals, and flocks may span pools.
* **Slices of a bundle**: a cathedral loads the secrets of the devices it has, not of the flock.
* **Sixteen bits for a device**: a flock of more than 254, at the price of another layout of SPIs.
"""
    )


def _spread(values: Sequence[float]) -> str:
    found = spread(values)
    assert found is not None, "a simulation with tunnels"
    return f"{found['median']:.1f} s, all within {found['most']:.1f} s"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(_lines(heads, rows)) + "\n"


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def main(folder: Path) -> None:
    """Write the page and the picture."""
    storm = run(STORM)
    (folder / "scale.svg").write_text(draw(storm))
    (folder / "scale.md").write_text(page(storm, measure(), folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
