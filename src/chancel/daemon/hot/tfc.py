"""Packets of one size (TFC): filled before they are sealed, cut when they were opened.

Filled packets are all alike, so those of a whole batch become one run: one train for the kernel,
whatever they were before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.tfc import IP6_HEADER_BYTES, inner_length_untrusted
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES


def filled(
    source: SlotView, runs: Iterable[Run], target: SlotView, mtu: int, room: int
) -> Iterator[Run]:
    """Fill packets that go one way (tails behind them) up to the MTU, into ``target``.

    Yields one run for each ``room`` packets, and for the rest; each replaces the one before in
    ``target``. Tails are complete. No packet may be larger than the MTU.
    """
    size, count = mtu + TAIL_BYTES, 0
    room = min(room, len(target.memory) // size, MAX_RUN_PACKETS)
    for run in runs:
        start = 0
        while start < run.packets:
            stop = min(run.packets, start + room - count)
            _fill(source, run, start, stop, target, count * size, size)
            count += stop - start
            start = stop
            if count == room:
                yield Run(run.tunnel, 0, count, size, size, 0, run.source)
                count = 0
    if count:
        yield Run(run.tunnel, 0, count, size, size, 0, run.source)


def _fill(
    source: SlotView, run: Run, start: int, stop: int, target: SlotView, at: int, size: int
) -> None:
    """Packets ``start`` to ``stop`` of a run as rows: payload, zeros, tail."""
    rows = target.rows(at, size, stop - start)
    whole = stop - start - (stop == run.packets and run.last != run.size)
    payload = run.size - TAIL_BYTES
    taken = source.rows(run.offset + start * run.size, run.size, whole)
    rows[:whole, :payload] = taken[:, :payload]
    rows[:whole, payload:] = 0
    if whole != stop - start:
        payload = run.last - TAIL_BYTES
        rows[-1, :payload] = source.array[run.end - run.last : run.end - TAIL_BYTES]
        rows[-1, payload:] = 0
    rows[:, -1] = run.next


def cut_run(slot: SlotView, run: Run, packing: Packing, drops: Counter[Drop]) -> None:
    """Cut opened inner packets (tails behind them) to the length that each says it has.

    What can't be is counted in ``drops``.
    """
    if _all_full(slot, run):
        packing.add_run(slot, run)
        return
    tail = bytes((0, run.next))
    for i in range(run.packets):
        at = run.offset + i * run.size
        stop = (run.end if i == run.packets - 1 else at + run.size) - TAIL_BYTES
        payload = slot.memory[at:stop]
        try:
            length = inner_length_untrusted(payload)
        except RemoteProtocolError as error:
            drops[error.reason] += 1
        else:
            packing.add(run, bytes(payload[:length]) + tail)


def _all_full(slot: SlotView, run: Run) -> bool:
    """Whether all packets of a run surely end where their payload does."""
    payload = run.size - TAIL_BYTES
    if run.last != run.size or payload <= IP6_HEADER_BYTES:
        return False
    at, size, count = run.offset, run.size, run.packets
    heads = slot.column("u1", at, size, count)
    if np.count_nonzero(heads >> 4 != heads[0] >> 4):
        return False
    if heads[0] >> 4 == 6:
        lengths = slot.column(">u2", at + 4, size, count)
        return not np.count_nonzero(lengths != payload - IP6_HEADER_BYTES)
    return not np.count_nonzero(slot.column(">u2", at + 2, size, count) != payload)
