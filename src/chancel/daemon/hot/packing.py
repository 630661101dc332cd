"""Laying packets of any size side by side: equal ones become one run, full batches are handed on.

For what changes the size of packets that already stand in a slot, each by something else. Their
order stays.
"""

from __future__ import annotations

from collections.abc import Callable

from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS, Run
from chancel.wire.types import Buffer

Lent = tuple[SlotView, int, list[Run], int]
"""A slot, how far it is used, its runs, and the most that it may have."""


class Packing:
    """Runs in the making, in one slot after another.

    ``begin`` gives an empty slot, ``send`` takes it with its runs, at most ``most_runs`` of them.
    """

    def __init__(
        self,
        begin: Callable[[], SlotView],
        send: Callable[[SlotView, list[Run]], None],
        most_runs: int = MAX_RUNS,
    ) -> None:
        self._begin = begin
        self._send = send
        self._most_runs = most_runs
        self._slot: SlotView | None = None
        self._runs: list[Run] = []
        self._end = 0
        self._like: Run | None = None
        self._count = self._size = self._last = 0

    def add(self, like: Run, data: Buffer) -> None:
        """Append one packet; tunnel, next and source are those of ``like``."""
        self._append(like, data, 1, len(data), len(data))

    def add_run(self, source: SlotView, run: Run) -> None:
        """Append all packets of a run at once."""
        data = source.memory[run.offset : run.end]
        self._append(run, data, run.packets, run.size, run.last)

    def add_rows(self, like: Run, rows: Bytes) -> None:
        """Append packets of equal size, as rows; the same as :meth:`add` of each."""
        size = rows.shape[1]
        while len(rows):
            self._append(like, rows[0].data, 1, size, size)
            slot, end = self._slot, self._end
            assert slot is not None, "the first row is in it"
            more = 0
            if self._size == size:  # or the first one has ended a run of larger ones
                room = (len(slot.memory) - end) // size
                more = min(len(rows) - 1, room, MAX_RUN_PACKETS - self._count)
                slot.rows(end, size, more)[:] = rows[1 : 1 + more]
                self._end += more * size
                self._count += more
            rows = rows[1 + more :]

    def lend(self) -> Lent:
        """To whoever packs in our stead: it appends to the slot and to its runs, of which the last
        one may grow, and says :meth:`took`.
        """
        if self._slot is None:
            self._slot = self._begin()
        self._close()
        return self._slot, self._end, self._runs, self._most_runs

    def took(self, end: int) -> None:
        """So far the slot that was lent is used."""
        self._end = end

    def finish(self) -> None:
        """Hand on what there is."""
        self._close()
        slot, runs = self._slot, self._runs
        self._slot, self._runs, self._end = None, [], 0
        if slot is not None and runs:
            self._send(slot, runs)

    def _append(self, like: Run, data: Buffer, count: int, size: int, last: int) -> None:
        slot = self._slot
        if slot is None or self._end + len(data) > len(slot.memory):
            self.finish()
            slot = self._slot = self._begin()
        if self._like is None and self._runs:
            self._reopen()
        if not self._extends(like, count, size):
            self._close()
            if len(self._runs) == self._most_runs:
                self.finish()
                slot = self._slot = self._begin()
            self._like, self._count, self._size = like, 0, size
        slot.memory[self._end : self._end + len(data)] = data
        self._end += len(data)
        self._count += count
        self._last = last

    def _extends(self, like: Run, count: int, size: int) -> bool:
        """Whether so many packets of that size may follow in the open run."""
        own = self._like
        return (
            own is not None
            and self._last == self._size
            and (size == self._size or (count == 1 and size < self._size))
            and self._count + count <= MAX_RUN_PACKETS
            and (own is like or own[:2] == like[:2])
            and own.source == like.source
        )

    def _reopen(self) -> None:
        """Take the last run back that somebody else has packed: it may go on."""
        self._like = last = self._runs.pop()
        self._count, self._size, self._last = last.packets, last.size, last.last

    def _close(self) -> None:
        like, count = self._like, self._count
        if like is None:
            return
        offset = self._end - (count - 1) * self._size - self._last
        self._runs.append(
            like._replace(packets=count, size=self._size, last=self._last, offset=offset)
        )
        self._like = None
