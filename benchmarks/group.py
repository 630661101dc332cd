"""What one tunnel's group costs: work from its start to the first packet, and memory.

Work is processor time, of all processes and the interpreter's start included; time in which
everybody waits is no work. Memory is proportional: what several programs share of a library's file
is divided by them. So it is that of a group alone, after the other end has gone; other programs in
Python still make it look smaller.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from benchmarks import vpns
from benchmarks.ends import running
from benchmarks.result import Figure, Result, Step, Target
from benchmarks.targets import MEMORY_MB
from benchmarks.turns import Turn, alternate
from benchmarks.vpns import Vpn

ROUNDS = 5


def run() -> Iterator[Result | Step]:
    """Medians of some rounds, each with a new group."""
    jobs = {vpn.name: functools.partial(measure, vpn) for vpn in vpns.ours()}
    turns: list[Turn[tuple[float, float]]] = []
    for item in alternate("a new group", jobs, ROUNDS):
        if isinstance(item, Step):
            yield item
        else:
            turns.append(item)
    for name in jobs:
        work, memory = zip(*(turn.result for turn in turns if turn.name == name), strict=True)
        yield Figure(
            "start to first packet: work", "s CPU", work, Target("≤", 1.0), program=name, less=True
        )
        yield Figure(
            "memory of a new group alone (PSS) without lanes",
            "MB",
            memory,
            MEMORY_MB,
            program=name,
            less=True,
        )


def measure(vpn: Vpn) -> tuple[float, float]:
    """One round: work in seconds, memory in MB."""
    with running(vpn) as tunnel:
        host = tunnel.ends.right.host
        work = float(host.call("benchmarks.processes:work_with_children_s", tunnel.right_pids))
        return work, tunnel.memory_alone().own
