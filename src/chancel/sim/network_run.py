"""Runs a simulated network: its pools one after the other, or several side by side."""

from __future__ import annotations

import contextlib
import gc
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from chancel.sim.ledger import Rule, Violation
from chancel.sim.network_faults import Faults
from chancel.sim.network_report import NetworkReport, PoolReport
from chancel.sim.network_scenario import NetworkScenario
from chancel.sim.network_suite import suites
from chancel.sim.network_watch import Watch
from chancel.sim.parish import Parish

STEP_S: Final = 60.0
"""Simulated time between two words of progress."""

Progress = Callable[[int, float], None]
"""Told the pool and how many simulated seconds of it are done."""


def run(
    scenario: NetworkScenario, jobs: int = 1, progress: Progress | None = None
) -> NetworkReport:
    """Run all pools; equal scenarios give equal reports, but for ``cpu_s``, whatever ``jobs`` is.

    With several jobs, progress is told in the process that runs the pool, and has to be picklable.
    What a run raises is an error of the protocol or the simulator; a note on it says how to repeat
    the run.
    """
    return NetworkReport(scenario, tuple(_pools(scenario, min(jobs, scenario.pools), progress)))


def run_pool(scenario: NetworkScenario, pool: int, progress: Progress | None = None) -> PoolReport:
    """Run one pool."""
    started = time.process_time()
    try:
        parish = Parish(scenario.plan(pool), suites(scenario.crypto))
        watch = Watch(parish)
        faults = Faults(scenario, pool, parish, watch)
        parish.start()
        seconds = scenario.hours * 3600.0
        with _seldom_collected() as collect:
            while parish.clock.now < seconds:
                parish.run(min(STEP_S, seconds - parish.clock.now))
                collect()
                if progress is not None:
                    progress(pool, parish.clock.now)
        watch.end()
        late = tuple(_late(parish, faults))
        parish.close()
    except Exception as error:
        error.add_note(f"repeat: {scenario.command()}")
        raise
    return PoolReport(
        samples=tuple(watch.samples),
        up_s=tuple(watch.up_s),
        direct_s=tuple(watch.direct_s),
        recoveries=tuple(watch.recoveries),
        loads=tuple(each.load for each in parish.cathedrals),
        datagrams=parish.network.sent,
        events=parish.trace.count,
        digest=parish.trace.digest(),
        violations=(*parish.violations(), *late),
        cpu_s=time.process_time() - started,
    )


def even_jobs(pools: int, processors: int) -> int:
    """How many processes keep this many processors busy until all pools are done.

    Pools that don't go into the processors take turns with others in the first round, so that the
    following ones are full: of five on two, three and then two take as long as two and a half. More
    at a time would only be in each other's way, and take a few hundred MB each.
    """
    return min(pools, processors + pools % processors)


def interpreter() -> str:
    """Which Python this is."""
    name = f"{platform.python_implementation()} {platform.python_version()}"
    number = ".".join(map(str, sys.implementation.version[:3]))
    return name if name.endswith(f" {number}") else f"{name} ({number})"


@contextlib.contextmanager
def _seldom_collected() -> Iterator[Callable[[], object]]:
    """Look for rings of garbage only when asked, by what this yields: hardly any come about, and to
    look whenever many objects were made takes a tenth of the time. What is there already is not
    looked at again. A collector that nothing can be frozen for, as PyPy's, finds them by the way:
    it is left alone.
    """
    if not hasattr(gc, "freeze"):
        yield lambda: None
        return
    was_on = gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def _late(parish: Parish, faults: Faults) -> Iterator[Violation]:
    """Tunnels that are not up, or not direct, when nothing has happened for long."""
    now, detail = parish.clock.now, f"{parish.clock.now - faults.until_s:.0f} s of calm"
    for tunnel in filter(parish.possible, parish.tunnels):
        if not tunnel.up:
            yield Violation(now, tunnel.ends[0].name, Rule.NOT_UP, detail)
        elif parish.can_be_direct(tunnel) and not tunnel.direct:
            yield Violation(now, tunnel.ends[0].name, Rule.NOT_DIRECT, detail)


def _pools(scenario: NetworkScenario, jobs: int, progress: Progress | None) -> Iterator[PoolReport]:
    numbers = range(scenario.pools)
    if jobs <= 1:
        for number in numbers:
            yield run_pool(scenario, number, progress)
        return
    with ProcessPoolExecutor(jobs) as executor:
        count = scenario.pools
        yield from executor.map(run_pool, [scenario] * count, numbers, [progress] * count)
