"""The long runs of a large network: a thousand devices and ten cathedrals, for an hour and a day.

What came of one is kept as a file of figures and a picture, from which ``docs/scale.md`` is made:
they take too long to be run again for each change of a page.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from chancel.sim.network_report import NetworkReport
from chancel.sim.network_scenario import Crypto, NetworkScenario
from chancel.sim.network_svg import draw


class Long(enum.StrEnum):
    """Which run."""

    HOUR = "hour"
    DAY = "day"


SCENARIOS: Final[Mapping[Long, NetworkScenario]] = MappingProxyType(
    {
        Long.HOUR: NetworkScenario(
            hours=1.0,
            devices=1000,
            cathedrals=10,
            loss=0.01,
            deaths=1,
            splits=1,
            crypto=Crypto.REAL,
        ),
        Long.DAY: NetworkScenario(
            hours=24.0,
            devices=1000,
            cathedrals=10,
            pools=5,
            loss=0.01,
            churn_s=14_400.0,
            deaths=2,
            splits=1,
        ),
    }
)
"""The hour: one federation, with real crypto. The day: pools of two, as ``docs/scale.md`` has them,
which know nothing of each other and run side by side."""


def save(report: NetworkReport, wall_s: float, python: str, long: Long, folder: Path) -> None:
    """Keep what came of a run, which took ``wall_s`` in this Python."""
    figures = {**report.figures(), "wall_s": wall_s, "python": python}
    (folder / f"scale-{long}.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / f"scale-{long}.svg").write_text(draw(report))


def saved(long: Long, folder: Path) -> dict[str, Any] | None:
    """The figures that are kept of a run; ``None`` before the first."""
    path = folder / f"scale-{long}.json"
    return json.loads(path.read_text()) if path.is_file() else None
