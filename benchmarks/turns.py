"""Programs that take turns, round by round, because the machine's speed drifts.

Figures of one run may be compared, figures of two runs not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from benchmarks.result import Figure, LeftOut, Ratio, Step, Target
from benchmarks.workloads import Measure, Sample

T = TypeVar("T")


class Turn(NamedTuple, Generic[T]):
    """What one turn of one program gave; rounds count from 0."""

    number: int
    name: str
    result: T


def alternate(
    what: str, jobs: Mapping[str, Callable[[], T]], rounds: int, span: range | None = None
) -> Iterator[Step | Turn[T]]:
    """Do all jobs once a round; who begins changes. Before each a step, after it its result.

    ``span``: which of the rounds, where these jobs aren't done in all of them.
    """
    names = list(jobs)
    for number in range(rounds) if span is None else span:
        first = number % len(names)
        for place, name in enumerate(names[first:] + names[:first]):
            share = (number * len(names) + place) / (rounds * len(names))
            yield Step(f"{what}, round {number + 1} of {rounds}: {name}", share)
            yield Turn(number, name, jobs[name]())


class Rounds:
    """What all rounds of all programs gave. A peer that failed lacks some of it."""

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        self._measures = measures
        self._samples: dict[str, dict[int, Sample]] = {}

    def add(self, program: str, number: int, sample: Sample) -> None:
        """Keep what a program gave in a round, beside what is known of that round already."""
        self._samples.setdefault(program, {}).setdefault(number, {}).update(sample)

    def values(self, program: str, key: str) -> dict[int, float]:
        """One measure of a program, by round."""
        rounds = self._samples.get(program, {})
        return {number: sample[key] for number, sample in rounds.items() if key in sample}

    def figures(self) -> Iterator[Figure]:
        """Each measure of each program that has it."""
        for key, measure in self._measures.items():
            for program in self._samples:
                if values := self.values(program, key):
                    samples = list(values.values())
                    yield measure.figure(samples, program)

    def ratio(
        self,
        keys: str | Sequence[str],
        ours: str,
        theirs: str,
        target: Target | None = None,
        race: Target | None = None,
    ) -> Ratio | LeftOut:
        """One program's figure as a multiple of another's, from the rounds that both finished.

        Several keys are those of one figure, measured in several ways: its samples are all theirs.
        """
        keys = [keys] if isinstance(keys, str) else list(keys)
        measure = self._measures[keys[0]]
        ways = ", either way" if len(keys) > 1 else ""
        name = f"{measure.name}{ways}, against {theirs}"
        both: list[tuple[float, float]] = []
        for key in keys:
            mine, others = self.values(ours, key), self.values(theirs, key)
            both += [(mine[n], others[n]) for n in sorted(mine.keys() & others.keys())]
        if not both:
            gap = ours if not any(self.values(ours, key) for key in keys) else theirs
            return LeftOut(f"{name}: {ours}", f"no figure of {gap}")
        mine_all, others_all = zip(*both, strict=True)
        return Ratio(name, list(mine_all), list(others_all), target, race, ours, measure.less)
