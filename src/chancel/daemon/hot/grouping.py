"""Parting a batch by whose packets they are.

Batches are taken one a turn of the loop. Rejected: draining the lane in a turn. The last look at
it, in vain, costs what two turns of the loop do: with one batch waiting a tenth more, with two as
much, with four a thirtieth less.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from chancel.daemon.run import Run


def by_way(runs: list[Run]) -> Iterator[tuple[Run, list[Run]]]:
    """Runs that follow each other with one tunnel and one source, and the first of them.

    Mostly that is all of a batch.
    """
    if len(runs) == 1 or len({(run.tunnel, run.source) for run in runs}) == 1:
        yield runs[0], runs
        return
    for _, group in itertools.groupby(runs, _way):
        together = list(group)
        yield together[0], together


def _way(run: Run) -> tuple[int, bytes]:
    return run.tunnel, run.source
