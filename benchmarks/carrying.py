"""Loads one after the other on one tunnel; one that fails is told of, and the next one runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmarks.ends import Ends
from benchmarks.result import LeftOut, sentence
from benchmarks.workloads import Sample, Workload
from chancel.errors import ChancelError

FAILURES = (ChancelError, RuntimeError, subprocess.SubprocessError, OSError)
"""How a program under load may fail those that measure it."""


class Outcome(NamedTuple):
    """The figures of one round, and a sentence for each load that failed."""

    sample: Sample
    failures: list[str]

    def told(self, name: str, number: int, *, fault: bool) -> Iterator[LeftOut]:
        """What failed in this round (from 0); ``fault``: by a fault of ours, if of anybody."""
        for each in self.failures:
            yield LeftOut(f"{name}, round {number + 1}", each, fault=fault)


def carry(workloads: Iterable[Workload], ends: Ends, seconds: float, outcome: Outcome) -> None:
    """Run the loads, and add what comes of them to the outcome."""
    for workload in workloads:
        try:
            outcome.sample.update(workload(ends, seconds))
        except FAILURES as error:
            outcome.failures.append(sentence(error))
