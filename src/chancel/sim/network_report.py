"""What came of a simulated network: measures of each pool, and of all of them together."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from chancel.sim.cathedral_node import Load
from chancel.sim.ledger import Violation
from chancel.sim.network_scenario import NetworkScenario
from chancel.sim.network_watch import Recovery, Sample


@dataclasses.dataclass(frozen=True, slots=True)
class PoolReport:
    """One pool. ``loads`` are those of its cathedrals over the whole run, ``cpu_s`` the processor
    time it took; all other times are simulated."""

    samples: tuple[Sample, ...]
    up_s: tuple[float, ...]
    direct_s: tuple[float, ...]
    recoveries: tuple[Recovery, ...]
    loads: tuple[Load, ...]
    datagrams: int
    events: int
    digest: str
    violations: tuple[Violation, ...]
    cpu_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkReport:
    """All pools."""

    scenario: NetworkScenario
    pools: tuple[PoolReport, ...]

    @property
    def violations(self) -> list[Violation]:
        """What was broken in any pool."""
        return [each for pool in self.pools for each in pool.violations]

    @property
    def up_s(self) -> list[float]:
        """How long each tunnel took, from power at both ends."""
        return [each for pool in self.pools for each in pool.up_s]

    @property
    def direct_s(self) -> list[float]:
        """The same until it was direct, of those that theory lets."""
        return [each for pool in self.pools for each in pool.direct_s]

    @property
    def recoveries(self) -> list[Recovery]:
        """How long it took after each fault until all was well."""
        return [each for pool in self.pools for each in pool.recoveries]

    @property
    def loads(self) -> list[Load]:
        """Of all cathedrals."""
        return [load for pool in self.pools for load in pool.loads]

    def samples(self) -> list[Sample]:
        """The pools' samples, added up."""
        together = zip(*(pool.samples for pool in self.pools), strict=True)
        return [
            Sample(
                at[0].at_s,
                sum(each.possible for each in at),
                sum(each.up for each in at),
                sum(each.direct for each in at),
            )
            for at in together
        ]

    def figures(self) -> dict[str, Any]:
        """For a script: flat, with units in the names."""
        last, seconds = self.samples()[-1], self.scenario.hours * 3600.0
        return {
            "command": self.scenario.command(),
            "devices": self.scenario.devices,
            "cathedrals": self.scenario.cathedrals,
            "pools": self.scenario.pools,
            "tunnels_possible": last.possible,
            "tunnels_up": last.up,
            "tunnels_direct": last.direct,
            "relayed_share": relayed(last),
            "up_s": spread(self.up_s),
            "direct_s": spread(self.direct_s),
            "recoveries": [
                {**dataclasses.asdict(each), "took_s": _finite(each.took_s)}
                for each in self.recoveries
            ],
            "cathedral": per_cathedral(self.loads, seconds),
            "datagrams": sum(pool.datagrams for pool in self.pools),
            "events": sum(pool.events for pool in self.pools),
            "digests": [pool.digest for pool in self.pools],
            "violations": [str(each) for each in self.violations],
            "cpu_s": sum(pool.cpu_s for pool in self.pools),
        }


def relayed(sample: Sample) -> float:
    """The share of tunnels that are up which are not direct."""
    return 1.0 - sample.direct / sample.up if sample.up else 0.0


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 95th percentile and greatest; ``None`` of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(0, math.ceil(0.95 * len(ordered)) - 1)
    return {"median": statistics.median(ordered), "p95": ordered[rank], "most": ordered[-1]}


def per_cathedral(loads: Iterable[Load], seconds: float) -> dict[str, float]:
    """What a cathedral does in a second, on average over all of them."""
    found = list(loads)
    return {
        f"{field.name}_per_s": sum(getattr(load, field.name) for load in found)
        / len(found)
        / seconds
        for field in dataclasses.fields(Load)
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
