"""The long runs, over several processes: a year of one tunnel, and many seeds of a hard day."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from chancel.sim import ordeal
from chancel.sim.pair import Report, run
from chancel.sim.scenario import Scenario

DAYS_PER_YEAR = 365

YEAR = Scenario(seed=1, hours=24.0 * DAYS_PER_YEAR, loss=0.05, payload_every_s=300.0)
"""A year of hourly key changes with 5% loss."""

HARD_DAY = Scenario(
    loss=0.02, duplicate=0.02, reorder=0.02, corrupt=0.005, restarts=True, skew=True
)
"""A day with power failures, wrong clocks and a poor link."""

FRAGMENT_LOSS = 0.3


def hard_days(seeds: range) -> Iterator[Scenario]:
    """For each seed a hard day, and the same with 30% of all ML-KEM fragments lost."""
    for seed in seeds:
        day = dataclasses.replace(HARD_DAY, seed=seed)
        yield day
        yield dataclasses.replace(day, fragment_loss=FRAGMENT_LOSS)


def run_all(scenarios: list[Scenario], jobs: int) -> Iterator[Report]:
    """Run scenarios in ``jobs`` processes; reports come as they finish, in any order."""
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(run, scenario) for scenario in scenarios]):
            yield done.result()


def run_ordeals(seeds: range, jobs: int) -> Iterator[ordeal.Outcome]:
    """Run ordeals of pairs with cathedrals; outcomes come as they finish, in any order."""
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(ordeal.run, seed) for seed in seeds]):
            yield done.result()
