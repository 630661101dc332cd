"""Many networks that have it hard, over several processes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from chancel.sim.network_report import NetworkReport
from chancel.sim.network_run import run
from chancel.sim.network_scenario import NetworkScenario, Talk


def hard_network(seed: int) -> NetworkScenario:
    """Half an hour of a small network in which everything happens, drawn from the seed."""
    rng = random.Random(f"network {seed}")  # noqa: S311 - repeatable on purpose
    talk = rng.choice(tuple(Talk))
    flock = rng.randint(4, 8) if talk is Talk.MESH else rng.randint(4, 40)
    return NetworkScenario(
        seed=seed,
        hours=0.5,
        devices=rng.randint(10, 20 if talk is Talk.MESH else 40),
        cathedrals=rng.randint(2, 5),
        flock=flock,
        talk=talk,
        loss=rng.choice((0.0, 0.0, 0.02, 0.05)),
        churn_s=rng.choice((0.0, 200.0, 600.0)),
        deaths=rng.randint(0, 2),
        splits=rng.randint(0, 1),
        rolls=rng.randint(0, 2),
        flash=rng.random() < 0.5,
    )


def run_networks(scenarios: Sequence[NetworkScenario], jobs: int) -> Iterator[NetworkReport]:
    """Run networks in ``jobs`` processes; reports come as they finish, in any order."""
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(run, scenario) for scenario in scenarios]):
            yield done.result()
