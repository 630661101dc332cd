"""Publishing on the board without a write per packet, and telling of drops without a line each."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from chancel.daemon.board import NO_DROPS, packed_drops
from chancel.daemon.logs import RateLimit
from chancel.daemon.loop import PAUSE_S, Books
from chancel.daemon.process import Process
from chancel.daemon.records import Record
from chancel.wire.drop import Drop

log = logging.getLogger("chancel.daemon")

PUBLISH_INTERVAL_S = 0.25
"""Counters are at most this old; what cannot wait is published at once."""

_GOLDEN: Final = 0.618_033_988_749_895
"""Its multiples, modulo one, are as far apart as they can be, however many."""

DROP_LOG_INTERVAL_S = 60.0
"""A reason is logged at most once in this time for each tunnel, with the count since."""

_SILENT = frozenset({Drop.NO_KEY, Drop.NO_PEER, Drop.INNER_VERSION, Drop.OFFER_ALREADY_DONE})
"""Ordinary in the life of a tunnel (protocol section 13.1); the counters have them."""

Snapshot = Callable[[], tuple[Record, Mapping[Drop, int]]]


class _Page:
    """One tunnel's entry, and what was published of it last."""

    def __init__(self, instance: str, snapshot: Snapshot) -> None:
        self.instance = instance
        self.snapshot = snapshot
        self.record: Record | None = None
        self.packed_drops = NO_DROPS
        self._drops: dict[Drop, int] = {}
        self._counts: list[int] = []
        self._dropped_at: dict[Drop, float] = {}
        self._limit = RateLimit(DROP_LOG_INTERVAL_S)
        self._told: dict[Drop, int] = {}

    def note(self, drops: Mapping[Drop, int], now: float) -> dict[Drop, int]:
        """Remember which counters grew, and when; returns by how much."""
        counts = list(drops.values())
        if counts == self._counts:
            return {}
        grown = {
            reason: count - self._drops.get(reason, 0)
            for reason, count in drops.items()
            if count != self._drops.get(reason, 0)
        }
        self._dropped_at.update(dict.fromkeys(grown, now))
        self._counts, self._drops = counts, dict(drops)
        self.packed_drops = packed_drops(drops, self._dropped_at)
        return grown

    def tell(self, now: float) -> None:
        """Log the counters that have grown since they were last told."""
        for reason, count in self._drops.items():
            more = count - self._told.get(reason, 0)
            if not more or reason in _SILENT or self._limit.admit(reason, now) is None:
                continue
            self._told[reason] = count
            log.info("packets dropped tunnel=%s reason=%s count=%d", self.instance, reason, more)


class Publisher:
    """Publishes the entries of one process, each taken from its tunnel's snapshot function."""

    def __init__(self, process: Process) -> None:
        if process.board is None:
            raise ValueError(f"{process.name} has no board")
        self._board = process.board
        self._process = process
        self._pages: dict[int, _Page] = {}
        self._dirty: set[int] = set()
        self._due = -math.inf
        self._rest_s = os.getpid() * _GOLDEN % 1.0 * PUBLISH_INTERVAL_S

    def add(self, tunnel: int, instance: str, snapshot: Snapshot) -> None:
        """Publish a tunnel's entry from now on; the first one at once."""
        self._pages[tunnel] = _Page(instance, snapshot)
        self._publish(tunnel, time.monotonic())

    def remove(self, tunnel: int) -> None:
        """Withdraw a tunnel's entry."""
        del self._pages[tunnel]
        self._dirty.discard(tunnel)
        self._board.clear(tunnel)

    def later(self, tunnel: int) -> None:
        """Something changed that can wait for the next interval."""
        self._dirty.add(tunnel)

    def now(self, tunnel: int) -> None:
        """Something changed that others act on: publish it and ring their bells."""
        self._publish(tunnel, time.monotonic())
        self._dirty.discard(tunnel)
        self._process.ring()

    @property
    def books(self) -> Books:
        """When :meth:`flush` is to be called by who carries packets by itself.

        After a pause to write costs more than a packet does, and a packet passes all processes at
        almost the same time: wrote all of them then, it and the next one would wait for that. So
        the rest is another in each process, and who wrote at once, after a pause, writes for the
        second time after his rest.
        """
        return self._due, self._rest_s

    def wake_at(self) -> float | None:
        """When :meth:`flush` is due; never while nothing changes."""
        return self._due if self._dirty else None

    def flush(self, now: float) -> None:
        """Publish what waits, if its time has come."""
        if not self._dirty or now < self._due:
            return
        was_idle = now >= self._due + PAUSE_S
        self._due = now + (self._rest_s if was_idle else PUBLISH_INTERVAL_S)
        for tunnel in self._dirty:
            self._publish(tunnel, now)
            self._pages[tunnel].tell(now)
        self._dirty.clear()

    def _publish(self, tunnel: int, now: float) -> None:
        page = self._pages[tunnel]
        record, drops = page.snapshot()
        dropped = page.note(drops, now)
        self._board.write(tunnel, record, page.packed_drops, self._process.loop.wakeups)
        if self._process.trace is not None:
            self._process.trace.page(tunnel, page.record, record, dropped)
        page.record = record


def earliest(*times: float | None) -> float | None:
    """The earliest of some deadlines, of which any may be absent."""
    first = None
    for at in times:
        if at is not None and (first is None or at < first):
            first = at
    return first
