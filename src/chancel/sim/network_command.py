"""``chancel sim network``: networks of many devices, as a table, figures for scripts, a picture."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chancel.errors import LocalProtocolError
from chancel.sim import network_elsewhere
from chancel.sim.command import Probability, print_violations, say
from chancel.sim.network_long import SCENARIOS, Long, save
from chancel.sim.network_report import NetworkReport, per_cathedral, relayed, spread
from chancel.sim.network_run import even_jobs, interpreter, run
from chancel.sim.network_scenario import MIX, MIXED, Crypto, NetworkScenario, Talk
from chancel.sim.network_svg import draw
from chancel.sim.places import PLACES


def _place(text: str) -> str:
    if text != MIXED and text not in PLACES:
        raise typer.BadParameter(f"expected {MIXED} or one of {', '.join(PLACES)}")
    return text


Count = Annotated[int, typer.Option(min=0, help="How often, in each pool.")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Processes, for pools. Else as many as keep all processors busy."),
]
Python = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The Python to run in, with numpy and cryptography of its own; PyPy needs half the"
        " time. Else this one.",
    ),
]


def network(
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 1,
    hours: Annotated[float, typer.Option(min=0.05, help="Simulated time.")] = 1.0,
    devices: Annotated[int, typer.Option(min=2, help="In all pools together.")] = 100,
    cathedrals: Annotated[int, typer.Option(min=1, help="In all pools together.")] = 3,
    pools: Annotated[int, typer.Option(min=1, help="Federations that know nothing of others.")] = 1,
    flock: Annotated[int, typer.Option(min=2, max=254, help="Devices in each flock.")] = 50,
    talk: Annotated[Talk, typer.Option(help="Who of a flock has a tunnel with whom.")] = Talk.PAIRS,
    place: Annotated[
        str,
        typer.Option(parser=_place, metavar="PLACE", help=f"{MIXED}: {', '.join(MIX)}."),
    ] = MIXED,
    loss: Probability = 0.0,
    churn: Annotated[
        float, typer.Option(min=0.0, help="Mean seconds between changes of a device; 0: none.")
    ] = 0.0,
    deaths: Count = 0,
    splits: Count = 0,
    rolls: Count = 0,
    flash: Annotated[bool, typer.Option("--flash", help="All start within a second.")] = False,
    crypto: Annotated[Crypto, typer.Option(help="Primitives that protect, or fast ones.")] = (
        Crypto.FAST
    ),
    jobs: Jobs = None,
    python: Python = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.svg", help="Draw it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Figures for a script.")] = False,
) -> None:
    """Simulate a network of cathedrals and devices; exit status 1 if a rule was broken.

    A cathedral dies (--deaths) for 150 s, a split (--splits) of a pool in two halves heals after
    180 s, and all secrets are rolled over (--rolls).

    \b
    Examples:
      chancel sim network --devices 200 --cathedrals 4 --deaths 1 --splits 1 --rolls 1 -o net.svg
      chancel sim network --talk mesh --flock 20 --churn 300 --loss 0.02 --json
    """
    try:
        scenario = NetworkScenario(
            *(seed, hours, devices, cathedrals, pools, flock, talk, place),
            *(loss, churn, deaths, splits, rolls, flash, crypto),
        )
    except LocalProtocolError as error:
        raise typer.BadParameter(str(error)) from error
    report, _ = _run(scenario, jobs, python)
    if output is not None:
        output.write_text(draw(report))
    if as_json:
        typer.echo(json.dumps(report.figures(), indent=2))
    else:
        _print(report)
        print_violations(report)
    raise typer.Exit(1 if report.violations else 0)


def long(
    which: Annotated[
        Long, typer.Argument(metavar="hour|day", help="An hour with real crypto, a day with fast.")
    ],
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 1,
    jobs: Jobs = None,
    python: Python = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Keep figures and picture there."),
    ] = None,
) -> None:
    """Run 1,000 devices and 10 cathedrals for long; exit status 1 if a rule was broken.

    \b
    Examples:
      chancel sim long hour -o docs
      chancel sim long day -o docs --python /usr/bin/pypy3
    """
    scenario = dataclasses.replace(SCENARIOS[which], seed=seed)
    started = time.monotonic()
    report, name = _run(scenario, jobs, python)
    wall_s = time.monotonic() - started
    if output is not None:
        save(report, wall_s, name, which, output)
    _print(report)
    typer.echo(f"{wall_s:.0f} s in {name}; repeat: {scenario.command()}")
    print_violations(report)
    raise typer.Exit(1 if report.violations else 0)


def _run(
    scenario: NetworkScenario, jobs: int | None, python: Path | None
) -> tuple[NetworkReport, str]:
    """What came of it, and in which Python."""
    progress = _Progress(scenario)
    if jobs is None:
        jobs = even_jobs(scenario.pools, os.cpu_count() or 1)
    if python is None:
        return run(scenario, jobs, progress), interpreter()
    elsewhere = network_elsewhere.find(python)
    return elsewhere.run(scenario, jobs, progress), elsewhere.name


class _Progress:
    """One line that tells how far a run is, at most once a second from each process."""

    def __init__(self, scenario: NetworkScenario) -> None:
        self._scenario = scenario
        self._started = self._told = time.monotonic()

    def __call__(self, pool: int, done_s: float) -> None:
        now = time.monotonic()
        if now - self._told >= 1.0:
            self._told = now
            hours, pools = self._scenario.hours, self._scenario.pools
            say(
                f"pool {pool + 1} of {pools}: {done_s / 3600:.2f} of {hours:g} h,"
                f" {now - self._started:.0f} s"
            )


def _print(report: NetworkReport) -> None:
    table = Table("", "", show_header=False, box=None)
    for name, value in _rows(report):
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)


def _rows(report: NetworkReport) -> Iterator[tuple[str, str]]:
    last, seconds = report.samples()[-1], report.scenario.hours * 3600.0
    yield "tunnels", f"{last.up:,} of {last.possible:,} up, {relayed(last):.1%} of them relayed"
    yield "time to tunnel", _spread(report.up_s)
    yield "time to direct", _spread(report.direct_s)
    for each in report.recoveries:
        yield each.what, f"at {each.at_s:.0f} s: {each.of} concerned, {each.took_s:.1f} s"
    load = per_cathedral(report.loads, seconds)
    yield (
        "each cathedral",
        f"{load['infos_per_s']:.1f} infos/s, {load['federated_per_s']:.1f} federated/s,"
        f" {load['octets_in_per_s'] / 1e3:.1f} kB/s in, {load['octets_out_per_s'] / 1e3:.1f} out",
    )
    datagrams, cpu_s = (
        sum(pool.datagrams for pool in report.pools),
        sum(pool.cpu_s for pool in report.pools),
    )
    yield "simulated", f"{datagrams:,} datagrams in {cpu_s:.1f} s of processor time"
    yield "digests", ", ".join(pool.digest for pool in report.pools)


def _spread(values: list[float]) -> str:
    found = spread(values)
    if found is None:
        return "none"
    median, p95, most = found["median"], found["p95"], found["most"]
    return f"{median:.2f} s, 95% within {p95:.2f} s, all within {most:.2f} s"
