"""Publishing on the board without a write per packet, and telling of drops without a line each."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from chancel.daemon.process import Process
from chancel.daemon.records import Record
from chancel.wire.drop import Drop

log = logging.getLogger("chancel.daemon")

PUBLISH_INTERVAL_S = 0.25
"""Counters are at most this old; what cannot wait is published at once."""

DROP_LOG_INTERVAL_S = 60.0
"""A reason is logged at most once in this time for each tunnel, with the count since."""

_SILENT = frozenset({Drop.NO_KEY, Drop.NO_PEER, Drop.INNER_VERSION, Drop.OFFER_ALREADY_DONE})
"""Ordinary in the life of a tunnel (protocol section 13.1); the counters have them."""

Snapshot = Callable[[], tuple[Record, Mapping[Drop, int]]]


class Publisher:
    """Publishes the entries of one process, each taken from its tunnel's snapshot function."""

    def __init__(self, process: Process) -> None:
        if process.board is None:
            raise ValueError(f"{process.name} has no board")
        self._board = process.board
        self._ring = process.ring
        self._snapshots: dict[int, tuple[str, Snapshot]] = {}
        self._dirty: set[int] = set()
        self._last = -math.inf
        self._told: dict[tuple[int, Drop], tuple[float, int]] = {}

    def add(self, tunnel: int, instance: str, snapshot: Snapshot) -> None:
        """Publish a tunnel's entry from now on; the first one at once."""
        self._snapshots[tunnel] = (instance, snapshot)
        self._board.write(tunnel, *snapshot())

    def remove(self, tunnel: int) -> None:
        """Withdraw a tunnel's entry."""
        del self._snapshots[tunnel]
        self._dirty.discard(tunnel)
        self._told = {key: told for key, told in self._told.items() if key[0] != tunnel}
        self._board.clear(tunnel)

    def later(self, tunnel: int) -> None:
        """Something changed that can wait for the next interval."""
        self._dirty.add(tunnel)

    def now(self, tunnel: int) -> None:
        """Something changed that others act on: publish it and ring their bells."""
        self._board.write(tunnel, *self._snapshots[tunnel][1]())
        self._dirty.discard(tunnel)
        self._ring()

    def wake_at(self) -> float | None:
        """When :meth:`flush` is due; never while nothing changes."""
        return self._last + PUBLISH_INTERVAL_S if self._dirty else None

    def flush(self, now: float) -> None:
        """Publish what waits, if its time has come."""
        if not self._dirty or now < self._last + PUBLISH_INTERVAL_S:
            return
        self._last = now
        for tunnel in self._dirty:
            instance, snapshot = self._snapshots[tunnel]
            record, drops = snapshot()
            self._board.write(tunnel, record, drops)
            self._tell(tunnel, instance, drops, now)
        self._dirty.clear()

    def _tell(self, tunnel: int, instance: str, drops: Mapping[Drop, int], now: float) -> None:
        for reason, count in drops.items():
            if reason in _SILENT:
                continue
            told_at, told = self._told.get((tunnel, reason), (-math.inf, 0))
            if count > told and now - told_at >= DROP_LOG_INTERVAL_S:
                self._told[tunnel, reason] = (now, count)
                log.info(
                    "packets dropped tunnel=%s reason=%s count=%d", instance, reason, count - told
                )


def earliest(*times: float | None) -> float | None:
    """The earliest of some deadlines, of which any may be absent."""
    return min((at for at in times if at is not None), default=None)
