"""1, 16 and 128 tunnels between the same two machines: memory, and what one of them then carries.

Ours are all in one group. The peers need processes for each tunnel, so they are asked for 16 at
most. Nobody else shares a library with the end whose memory is told.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from benchmarks import vpns
from benchmarks.ends import running
from benchmarks.pace import Pace
from benchmarks.result import LeftOut, Ratio, Result, Step
from benchmarks.targets import MANY_MEMORY
from benchmarks.turns import Rounds, alternate
from benchmarks.vpns import Vpn
from benchmarks.workloads import Measure, Sample, tcp

COUNTS = (1, 16, 128)
PEERS_COUNT = 16
ROUNDS, WHOLE_ROUNDS = 1, 3
"""Memory hardly differs from round to round."""

MEASURES = {
    f"{key}_{count}": Measure(f"{count} tunnel{'s' * (count > 1)}: {name}", unit, less)
    for count in COUNTS
    for key, name, unit, less in (
        ("up", "from start to the first answer of the first and the last", "s", True),
        ("tcp", "TCP, one stream in the last one", "Gbit/s", False),
        ("memory", "memory of one end (PSS), without lanes", "MB", True),
        ("lanes", "lanes or rings of one end", "MB", True),
    )
}


def run(pace: Pace) -> Iterator[Result | Step]:
    """Of each program and each number of tunnels that it is asked for."""
    wanted = {
        f"{vpn.name}, {count}": (vpn, count)
        for vpn in (*vpns.ours(), *vpns.peers())
        for count in COUNTS
        if vpn in vpns.ours() or count <= PEERS_COUNT
    }
    jobs = {
        name: functools.partial(measure, vpn, count, pace.seconds)
        for name, (vpn, count) in wanted.items()
    }
    rounds = Rounds(MEASURES)
    for item in alternate("many tunnels", jobs, WHOLE_ROUNDS if pace.whole else ROUNDS):
        if isinstance(item, Step):
            yield item
        else:
            rounds.add(wanted[item.name][0].name, item.number, item.result)
    yield from rounds.figures()
    for own in vpns.ours():
        one, many = (list(rounds.values(own.name, f"memory_{n}").values()) for n in (1, 128))
        name = "memory of 128 tunnels in a group, against one"
        yield Ratio(name, many, one, MANY_MEMORY, program=own.name, less=True)
    for peer in vpns.peers():
        yield LeftOut(f"128 tunnels: {peer.name}", "needs 128 daemons at each end")


def measure(vpn: Vpn, count: int, seconds: float) -> Sample:
    """One round of one program with so many tunnels."""
    with running(vpn, count) as group:
        rate = tcp(group.tunnel(count - 1), 1, seconds)
        first = group.first_answer_s
        memory, lanes = group.memory_alone()
    return {
        f"up_{count}": first,
        f"tcp_{count}": rate,
        f"memory_{count}": memory,
        f"lanes_{count}": lanes,
    }
