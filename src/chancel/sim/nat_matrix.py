"""Every ordered pair of places: does it come up, does it go direct, and when.

What theory lets go direct must go direct, and what it doesn't must stay relayed and work.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.sim.meeting import Meeting, MeetingScenario
from chancel.sim.places import NEIGHBOURS, PLACES, Place, can_be_direct, can_connect, place

UP_S: Final = 30.0
"""After this a pair counts as one that doesn't come up."""
DIRECT_S: Final = 60.0
"""After so long the NATs were judged, and every way was tried for a while."""
PAYLOADS: Final = 4

BELIEVING: Final = dataclasses.replace(CHANCEL, proves_paths=False)
"""An end of ours beside a cathedral that tells of judged addresses alone, as the reference's."""

ENDS: Final = {
    "ours": (CHANCEL, CHANCEL),
    "ours, judged": (BELIEVING, BELIEVING),
    "ours and reference": (CHANCEL, REFERENCE),
}
"""The pairs of ends that are compared, by the names of the table's columns."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One run: where the two ends are, by name, and of which kind. Neighbours are in one place."""

    left: str
    right: str
    ends: str
    seed: int

    @property
    def places(self) -> tuple[Place, Place]:
        """Left, then right."""
        return place(self.left), place(self.right)

    @property
    def expects_direct(self) -> bool:
        """Whether theory has a way, and nobody is told of judged addresses alone."""
        return self.ends == "ours" and can_be_direct(*self.places)

    def command(self) -> str:
        """What repeats this run alone."""
        return (
            f"chancel sim nat-matrix --pair '{self.left},{self.right}'"
            f" --ends '{self.ends}' --first-seed {self.seed} --seeds 1"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Met:
    """What became of it. Times are from the start; ``None``: never."""

    cell: Cell
    up_s: float | None
    direct_s: float | None
    problems: tuple[str, ...] = ()


def cells(
    seeds: Sequence[int], ends: Iterable[str] = ENDS, pair: tuple[str, str] | None = None
) -> list[Cell]:
    """All runs of the matrix, or of one pair of places."""
    every = [*itertools.product(PLACES, repeat=2), *((name, name) for name in NEIGHBOURS)]
    pairs = every if pair is None else [pair]
    return [
        Cell(left, right, each, seed) for left, right in pairs for each in ends for seed in seeds
    ]


def run(cell: Cell) -> Met:
    """Let two devices meet, and judge it."""
    behaviours: tuple[Behaviour, Behaviour] = ENDS[cell.ends]
    nats = cell.left, cell.right
    gathering = Meeting(MeetingScenario(cell.seed, nats, cathedrals=1, behaviours=behaviours))
    gathering.start()
    up = gathering.until(gathering.up, UP_S)
    is_up = gathering.up()
    direct = up + (gathering.until(gathering.direct, DIRECT_S) if is_up else 0.0)
    is_direct = is_up and gathering.direct()
    arrived = gathering.exchange(PAYLOADS) if is_up else 0
    problems = [str(each) for each in gathering.ledger.violations]
    if is_up != can_connect(*cell.places):
        problems.append("it came up without UDP" if is_up else "it did not come up")
    if cell.expects_direct and not is_direct:
        problems.append("it stayed relayed, though there is a way")
    if is_direct and not can_be_direct(*cell.places):
        problems.append("it is direct where theory knows no way")
    if is_up and arrived < 2 * PAYLOADS:
        problems.append(f"{2 * PAYLOADS - arrived} of {2 * PAYLOADS} payloads got lost")
    gathering.close()
    return Met(cell, up if is_up else None, direct if is_direct else None, tuple(problems))


def run_all(todo: Sequence[Cell], jobs: int) -> Iterator[Met]:
    """Run them in ``jobs`` processes; they come as they finish, in any order."""
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(run, cell) for cell in todo]):
            yield done.result()


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """All seeds of one pair of places and ends: medians in seconds, ``None`` for never."""

    up_s: float | None
    direct_s: float | None
    relayed: float
    """The share that stayed relayed, of those that came up."""


def summarise(results: Iterable[Met]) -> dict[tuple[str, str, str], Summary]:
    """By left place, right place, and ends."""
    groups: dict[tuple[str, str, str], list[Met]] = {}
    for met in results:
        cell = met.cell
        groups.setdefault((cell.left, cell.right, cell.ends), []).append(met)
    return {key: _summary(group) for key, group in groups.items()}


def _summary(group: Sequence[Met]) -> Summary:
    ups = [met.up_s for met in group if met.up_s is not None]
    directs = [met.direct_s for met in group if met.direct_s is not None]
    return Summary(
        statistics.median(ups) if ups else None,
        statistics.median(directs) if directs else None,
        1 - len(directs) / len(ups) if ups else 0.0,
    )
