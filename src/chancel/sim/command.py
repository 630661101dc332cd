"""``chancel sim``: the simulator on the command line, and how a failing seed is repeated."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chancel.sim.campaign import YEAR, hard_days, run_all, run_ordeals
from chancel.sim.nat import NAT_TYPES
from chancel.sim.network_campaign import hard_network, run_networks
from chancel.sim.network_report import NetworkReport
from chancel.sim.ordeal import Outcome
from chancel.sim.ordeal import run as run_ordeal
from chancel.sim.pair import Report, run
from chancel.sim.scenario import Kind, Scenario, Version

MAX_SHOWN = 10
"""How many violations of one run are printed."""


def _nat(text: str) -> str:
    if text not in NAT_TYPES:
        raise typer.BadParameter(f"expected one of {', '.join(NAT_TYPES)}")
    return text


Probability = Annotated[float, typer.Option(min=0.0, max=1.0, help="Per packet, from 0 to 1.")]
Tunnels = Annotated[
    bool, typer.Option("--tunnels", help="Tunnels of the library, not the bare sessions in them.")
]


def pair(
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 1,
    hours: Annotated[float, typer.Option(min=0.01, help="Simulated time.")] = 24.0,
    loss: Probability = 0.0,
    duplicate: Probability = 0.0,
    reorder: Probability = 0.0,
    corrupt: Probability = 0.0,
    fragment_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Loss of key exchange packets alone.")
    ] = 0.0,
    latency: Annotated[float, typer.Option(min=0.0, help="One way, in seconds.")] = 0.02,
    jitter: Annotated[float, typer.Option(min=0.0, help="At most, in seconds.")] = 0.01,
    restarts: Annotated[bool, typer.Option("--restarts", help="Ends lose power at times.")] = False,
    skew: Annotated[bool, typer.Option("--skew", help="Wall clocks differ by up to 9 s.")] = False,
    payload_every: Annotated[
        float, typer.Option(min=0.001, help="Seconds between inner packets of each end.")
    ] = 60.0,
    nat: Annotated[
        str | None,
        typer.Option(parser=_nat, metavar="KIND", help=f"Left behind NAT: {', '.join(NAT_TYPES)}."),
    ] = None,
    behaviour: Annotated[
        str, typer.Option(help="'chancel' or 'reference', or both ends as 'LEFT,RIGHT'.")
    ] = "chancel",
    profile: Annotated[
        Version, typer.Option(help="The version of the protocol that both ends speak.")
    ] = Version.CURRENT,
    tunnels: Tunnels = False,
) -> None:
    """Simulate two ends of a tunnel; exit status 1 if a rule was broken."""
    scenario = Scenario(
        seed=seed,
        hours=hours,
        loss=loss,
        duplicate=duplicate,
        reorder=reorder,
        corrupt=corrupt,
        fragment_loss=fragment_loss,
        latency_s=latency,
        jitter_s=jitter,
        restarts=restarts,
        skew=skew,
        payload_every_s=payload_every,
        nat=nat,
        kinds=_kinds(behaviour),
        version=profile,
        tunnels=tunnels,
    )
    report = run(scenario, _Progress(scenario.hours))
    _print_table(report)
    print_violations(report)
    raise typer.Exit(0 if report.ok else 1)


def ordeal(
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 1,
) -> None:
    """Simulate a pair whose cathedrals, routers and power fail; exit status 1 if it stays so."""
    outcome = run_ordeal(seed)
    for line in outcome.log:
        typer.echo(line)
    typer.echo(f"then packets passed after {outcome.works_s:.1f} s")
    _print_problems(outcome)
    raise typer.Exit(1 if outcome.problems else 0)


def suite(
    seeds: Annotated[int, typer.Option(min=0, help="Hard days, each in two variants.")] = 200,
    year: Annotated[bool, typer.Option(help="Also a year of hourly key changes.")] = True,
    ordeals: Annotated[int, typer.Option(min=0, help="Pairs whose cathedrals fail.")] = 500,
    networks: Annotated[int, typer.Option(min=0, help="Networks that have it hard.")] = 20,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    tunnels: Tunnels = False,
) -> None:
    """Run the long simulations: a year, many hard days, ordeals with cathedrals, and networks.

    A failing run prints the command that repeats it.
    """
    scenarios = [YEAR] if year else []
    scenarios += hard_days(range(1, seeds + 1))
    scenarios = [dataclasses.replace(scenario, tunnels=tunnels) for scenario in scenarios]
    started = time.monotonic()
    failed, total = 0, len(scenarios) + ordeals + networks
    for number, report in enumerate(run_all(scenarios, jobs), 1):
        failed += not report.ok
        print_violations(report)
        say(f"{number}/{total} runs, {failed} failed, {time.monotonic() - started:.0f} s")
    outcomes = run_ordeals(range(1, ordeals + 1), jobs)
    for number, outcome in enumerate(outcomes, len(scenarios) + 1):
        failed += bool(outcome.problems)
        _print_problems(outcome)
        say(f"{number}/{total} runs, {failed} failed, {time.monotonic() - started:.0f} s")
    hard = [hard_network(seed) for seed in range(1, networks + 1)]
    for number, network in enumerate(run_networks(hard, jobs), len(scenarios) + ordeals + 1):
        failed += bool(network.violations)
        print_violations(network)
        say(f"{number}/{total} runs, {failed} failed, {time.monotonic() - started:.0f} s")
    typer.echo(f"{total} runs, {failed} failed")
    raise typer.Exit(1 if failed else 0)


class _Progress:
    """One line that tells how far a run is, at most once a second."""

    def __init__(self, hours: float) -> None:
        self._hours = hours
        self._started = self._told = time.monotonic()

    def __call__(self, done: float) -> None:
        now = time.monotonic()
        if now - self._told >= 1.0 or done >= self._hours:
            self._told = now
            share = done / self._hours
            say(f"{done:.0f} of {self._hours:.0f} h ({share:.0%}), {now - self._started:.0f} s")


def say(line: str) -> None:
    """Show passing progress: over itself on a terminal, as lines in a log."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)


def _kinds(behaviour: str) -> tuple[Kind, Kind]:
    names = behaviour.split(",")
    try:
        left, right = Kind(names[0]), Kind(names[-1])
    except ValueError:
        names = []
    if not 1 <= len(names) <= 2:
        raise typer.BadParameter("expected 'chancel', 'reference' or two of them with a comma")
    return left, right


def _print_table(report: Report) -> None:
    table = Table("", "", show_header=False, box=None)
    rows = (
        ("datagrams", f"{report.datagrams:,} sent, {report.lost:,} lost"),
        ("sending keys", f"{report.keys:,}"),
        ("payloads", f"{report.payloads_sent:,} sent, {report.payloads_delivered:,} delivered"),
        ("restarts", f"{report.restarts}, slowest recovery {report.longest_recovery_s:.2f} s"),
        ("longest silence", f"{report.longest_silence_s:.2f} s"),
        ("events", f"{report.events:,}, digest {report.digest}"),
    )
    for name, value in rows:
        table.add_row(name, value)
    for end, drops in zip(("left", "right"), report.drops, strict=True):
        counts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(drops.items()))
        table.add_row(f"drops {end}", counts or "none")
    if sys.stderr.isatty():
        typer.echo(err=True)
    Console(soft_wrap=True).print(table)


def print_violations(report: Report | NetworkReport) -> None:
    """Say which rules were broken, and how to repeat it; nothing after a good run."""
    if not report.violations:
        return
    typer.echo(f"\n{len(report.violations)} broken rules; repeat: {report.scenario.command()}")
    for violation in report.violations[:MAX_SHOWN]:
        typer.echo(f"  {violation}")


def _print_problems(outcome: Outcome) -> None:
    if outcome.problems:
        typer.echo(f"\n{', '.join(outcome.problems)}; repeat: {outcome.command()}")
