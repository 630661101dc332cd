"""Packets of one size (TFC): filled before they are sealed, cut when they were opened.

Filled packets are all alike, so those of a whole batch become one run: one train for the kernel,
whatever they were before. Few packets go one by one; so do all where there is no numpy, which is
beside compiled twins.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from chancel.daemon import arrays
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.tfc import IP6_HEADER_BYTES, MIN_INNER_BYTES, inner_length_untrusted
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

_VECTOR_FROM = 4
_NO_LENGTH = 0


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
    if run.packets == 1 or not arrays.are_loaded():
        _fill_each(source, run, range(start, stop), target, at, size)
        return
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


def _fill_each(
    source: SlotView, run: Run, numbers: range, target: SlotView, at: int, size: int
) -> None:
    tail = bytes((run.next,))
    for number in numbers:
        begin = run.offset + number * run.size
        text = source.memory[begin : min(begin + run.size, run.end) - TAIL_BYTES].tobytes()
        target.memory[at : at + size] = text.ljust(size - 1, b"\0") + tail
        at += size


def cut_run(slot: SlotView, run: Run, packing: Packing, drops: Counter[Drop]) -> None:
    """Cut opened inner packets (tails behind them) to the length that each says it has.

    What can't be is counted in ``drops``. The slot is ours to write: tails move in it.
    """
    if not arrays.are_loaded():
        _cut_each(slot, run, packing, drops)
        return
    whole = run.packets if run.last == run.size else run.packets - 1
    if whole:
        _cut_rows(slot.rows(run.offset, run.size, whole), run, packing, drops)
    if whole != run.packets:
        _cut_rows(slot.rows(run.end - run.last, run.last, 1), run, packing, drops)


def _cut_each(slot: SlotView, run: Run, packing: Packing, drops: Counter[Drop]) -> None:
    tail = bytes((0, run.next))
    for begin in range(run.offset, run.end, run.size):
        packet = slot.memory[begin : min(begin + run.size, run.end)]
        length = _length_untrusted(packet[:-TAIL_BYTES])
        if length == _NO_LENGTH:
            drops[Drop.TFC_LENGTH] += 1
            continue
        packet[length : length + TAIL_BYTES] = tail
        packing.add(run, packet[: length + TAIL_BYTES])


def _cut_rows(rows: Bytes, run: Run, packing: Packing, drops: Counter[Drop]) -> None:
    """Cut packets of one size; those that follow each other with one length together."""
    start = 0
    for length, equal in itertools.groupby(_lengths_untrusted(rows[:, :-TAIL_BYTES])):
        stop = start + len(list(equal))
        if length == _NO_LENGTH:
            drops[Drop.TFC_LENGTH] += stop - start
        else:
            some = rows[start:stop, : length + TAIL_BYTES]
            some[:, -TAIL_BYTES:] = (0, run.next)
            packing.add_rows(run, some)
        start = stop


def _lengths_untrusted(payloads: Bytes) -> list[int]:
    """What :func:`inner_length_untrusted` says of each, or :data:`_NO_LENGTH` where it raises."""
    count, size = payloads.shape
    if count < _VECTOR_FROM:
        return [_length_untrusted(payload.data) for payload in payloads]
    if size < MIN_INNER_BYTES:
        return [_NO_LENGTH] * count
    lengths = payloads[:, 2:4].view(">u2")[:, 0].astype(np.int64)
    six = payloads[:, 0] >> 4 == 6
    if np.count_nonzero(six):
        lengths[six] = payloads[six, 4:6].view(">u2")[:, 0].astype(np.int64) + IP6_HEADER_BYTES
    lengths[(lengths < MIN_INNER_BYTES) | (lengths > size)] = _NO_LENGTH
    found: list[int] = lengths.tolist()
    return found


def _length_untrusted(payload: memoryview) -> int:
    try:
        return inner_length_untrusted(payload)
    except RemoteProtocolError:
        return _NO_LENGTH
