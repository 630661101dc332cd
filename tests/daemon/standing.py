"""A duty at work in the test's own process: for each batch, or by turns."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Interface, IPv4Network
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot import twins
from chancel.daemon.lane import LaneReader, LaneWriter
from chancel.daemon.loop import Loop
from chancel.daemon.run import TO_CANDIDATE, Run, pack_address
from chancel.daemon.settings import TunnelSettings
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.daemon.benches import Bench, packets_of
from tests.daemon.naive import TAIL

SUITE = SystemSuite()
KEY = Spi(7), Salt(b"salt"), SessionKey(bytes(range(32)))
NEXT_KEY = Spi(8), Salt(b"tlas"), SessionKey(bytes(range(1, 33)))
PEER, ELSEWHERE = (pack_address(Address(f"192.0.2.{i}", 4000)) for i in (1, 2))
MTU = 1400
PLAIN = TunnelSettings(
    "t0",
    IPv4Interface("10.77.0.1/30"),
    (IPv4Network("10.77.0.0/24"),),
    MTU,
    False,
    Address("192.0.2.1", 4000),
    NO_FLOCKS,
    0,
    "key",
)


class Way(NamedTuple):
    """Which of the hot functions are compiled, and whether there are turns."""

    used: tuple[str, ...]
    turns: bool


_BATCHES = Way((), turns=False)
WAYS = {
    "python": (_BATCHES, Way((), turns=True)),
    "compiled": (
        _BATCHES,
        Way(tuple(name for name in twins.NAMES if name != "turn"), turns=False),
        Way(twins.NAMES, turns=True),
    ),
}
"""All that have to do the same, by the twin: first the duty in Python, for each batch."""
TURNS = {twin: ways[-1] for twin, ways in WAYS.items()}

alike = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Stand:
    """One duty at work; its neighbours, which are in Python, are the test."""

    def __init__(self, name: str, make: Callable[[Any], Any], way: Way) -> None:
        self._way = way
        with self._using():
            self.bench = Bench(name)
            self.duty = make(self.bench.process)
        if not way.turns:
            self.bench.process.shorten(None)
        self.handed = 0
        """How many sources were left to the duty."""

    @contextmanager
    def _using(self) -> Iterator[None]:
        before = twins.used()
        twins.use(self._way.used)
        try:
            yield
        finally:
            twins.use(before)

    def add(self, tunnel: int, there: TunnelSettings, fds: list[int]) -> None:
        with self._using():
            self.duty.add(tunnel, there, fds)

    def work(self) -> None:
        """Serve what is ready, once."""
        loop: Loop = self.bench.process.loop
        if loop.turns is None:
            ready = loop._epoll.poll(0)
        else:
            ready, _ = loop.turns(loop._epoll.fileno(), 0.0)
        for fd, _ in ready:
            self.handed += 1
            loop._handlers[fd][1]()

    def told(self, tunnel: int = 0) -> list[object]:
        """What the board would say, but for times and system calls; and the drops."""
        record, drops = self.duty._tunnels[tunnel].snapshot()
        values = dataclasses.asdict(record)
        facts = {name: value for name, value in values.items() if name not in ("calls", "writes")}
        return [
            {name: value for name, value in facts.items() if not isinstance(value, float)},
            {reason: count for reason, count in drops.items() if count},
        ]


@contextmanager
def standing(name: str, make: Callable[[Any], Any], way: Way) -> Iterator[Stand]:
    stand = Stand(name, make, way)
    with closing(stand.bench):
        yield stand


class Part(NamedTuple):
    """Packets of one size (the last may be shorter), and how they are marked."""

    packets: list[bytes]
    next_: int = NEXT_INNER
    tunnel: int = 0
    source: bytes = bytes(18)


def put_parts(writer: LaneWriter, parts: list[Part]) -> None:
    """Hand a batch over, as runs that begin at multiples of 16."""
    memory, at, runs = writer.wait_slot()[1], 0, []
    for packets, next_, tunnel, source in parts:
        at = -(-at // 16) * 16
        data = b"".join(packets)
        memory[at : at + len(data)] = data
        sizes = len(packets), len(packets[0]), len(packets[-1])
        runs.append(Run(tunnel, next_, *sizes, at, source))
        at += len(data)
    writer.send(runs)


def all_of(reader: LaneReader) -> list[tuple[list[Run], list[bytes]]]:
    """The batches that wait: their runs, and their packets."""
    found = []
    while (batch := reader.receive()) is not None:
        found.append((batch.runs, packets_of(batch)))
        reader.release(batch)
    return found


shapes = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 2, 7, 40]),
        st.sampled_from([TAIL, 3, 60, 86, MTU + TAIL, 1524]),
        st.integers(0, 1500),
        st.sampled_from([NEXT_INNER] * 5 + [NEXT_GRACE]),
        st.sampled_from([0] * 6 + [1, 2, 5]),
        st.sampled_from([bytes(18)] * 5 + [TO_CANDIDATE, PEER]),
    ),
    min_size=1,
    max_size=4,
)


def parts_of(chosen: list[tuple[int, int, int, int, int, bytes]], seed: int) -> list[Part]:
    noise = random.Random(seed)
    parts = []
    for count, size, shorter, next_, tunnel, source in chosen:
        packets = [noise.randbytes(size - TAIL) + bytes(TAIL) for _ in range(count)]
        last = max(TAIL, size - shorter)
        packets[-1] = packets[-1][: last - TAIL] + bytes(TAIL)
        parts.append(Part(packets, next_, tunnel, source))
    return parts
