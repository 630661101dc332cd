"""Masks put on and taken off, for all runs of a batch at once.

The library that makes a mask from each header takes most of the time; all else is done for a run of
equal datagrams together. Those that grow, or that are few, go one by one: there an array costs more
than it spares. So does what wears one of two masks, while nobody knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from chancel.crypto.suite import Suite
from chancel.daemon.hot import twins
from chancel.daemon.hot.packing import Lent, Packing
from chancel.daemon.hot.views import Bytes
from chancel.daemon.run import Run
from chancel.errors import RemoteProtocolError
from chancel.protocol import encapsulation
from chancel.protocol.encapsulation import FIRST_COUNT, MASKED_BYTES, Encapsulation
from chancel.protocol.masking import Mask
from chancel.protocol.shroud import (
    DRAWN_BYTES,
    END,
    HEADER_BYTES,
    MIN_BYTES,
    SHROUD_BYTES,
    Shroud,
    shown,
)
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer

_WORTH_ARRAYS = 3
_ROWS = 64
"""Rows of one array: as many as a train has, and less memory than a slot."""

_GROWTH_BYTES = DRAWN_BYTES - HEADER_BYTES

Dropped = Callable[[Drop], None]
"""Told of each datagram that can't be unwrapped."""


class RunShroud(Shroud):
    """A shroud for whole runs. ``mark`` gives the mark of what is sent now, 32 bytes or none."""

    def __init__(self, key: Buffer, suite: Suite, mark: Callable[[], bytes] = lambda: b"") -> None:
        super().__init__(key, suite)
        self._draw = suite.random
        self._mark = mark
        compiled = twins.compiled("mask")
        self._compiled = compiled.Shroud(key) if compiled is not None else None

    def wrap(self, datagram: Buffer, limit: int, mark: bytes = b"") -> bytes:
        return super().wrap(datagram, limit, mark or self._mark())

    def _masked(self, header: bytes, body: Buffer) -> bytes:
        if self._compiled is None:
            return super()._masked(header, body)
        mask = self._masks.rows(header, 1, len(body))  # beside compiled twins there is no numpy
        bits = int.from_bytes(body, "big") ^ int.from_bytes(mask, "big")
        return bits.to_bytes(len(body), "big")

    def wrap_runs(self, memory: memoryview, runs: list[Run], limit: int, packing: Packing) -> None:
        """As :func:`wrap_runs`. Random bytes are drawn at once, in the datagrams' order."""
        if self._compiled is None and len(runs) == 1 and runs[0].packets == 1:
            run = runs[0]
            packing.add(run, self.wrap(memory[run.offset : run.offset + run.last], limit))
            return
        mark = self._mark()
        each = DRAWN_BYTES - len(mark)
        count = sum([run.packets for run in runs])
        drawn = self._draw(count * each)
        if self._compiled is not None:
            wrap = partial(self._compiled.wrap, memory, runs, limit, mark, drawn)
            _fill(packing, count, wrap)
            return
        at = 0
        for run in runs:
            end = at + run.packets * each
            self._wrap_run(memory, run, limit, mark, drawn[at:end], packing)
            at = end

    def unwrap_runs(
        self, memory: memoryview, runs: list[Run], packing: Packing, drop: Dropped
    ) -> None:
        """As :func:`unwrap_runs`."""
        if self._compiled is not None:
            _unwrap_compiled(self._compiled.unwrap, memory, runs, packing, drop)
            return
        for run in runs:
            self._unwrap_run(memory, run, packing, drop)

    def _wrap_run(
        self, memory: memoryview, run: Run, limit: int, mark: bytes, drawn: bytes, packing: Packing
    ) -> None:
        each = DRAWN_BYTES - len(mark)
        equal = _equal(run) if limit - SHROUD_BYTES - run.size < 2 else 0
        for first in range(0, equal, _ROWS):
            count = min(_ROWS, equal - first)
            at, size = run.offset + first * run.size, run.size
            rows = np.empty((count, SHROUD_BYTES + size), np.uint8)
            fresh = np.frombuffer(drawn, np.uint8, count * each, first * each)
            if mark:
                rows[:, : len(mark)] = np.frombuffer(mark, np.uint8)
            rows[:, len(mark) : HEADER_BYTES] = fresh.reshape(count, each)[:, :-_GROWTH_BYTES]
            rows[:, HEADER_BYTES:-1] = _rows(memory, at, count, size)
            rows[:, -1] = END
            headers = rows[:, :HEADER_BYTES].tobytes()
            rows[:, HEADER_BYTES:] ^= self.masks(headers, count, size + 1)
            packing.add_rows(run, rows)
        for number, datagram in enumerate(_datagrams(memory, run, equal), equal):
            fresh_bytes = mark + drawn[number * each : (number + 1) * each]
            packing.add(run, self.wrap_drawn(datagram, limit, fresh_bytes))

    def _unwrap_run(self, memory: memoryview, run: Run, packing: Packing, drop: Dropped) -> None:
        equal = _equal(run) if run.size >= MIN_BYTES else 0
        for first in range(0, equal, _ROWS):
            count = min(_ROWS, equal - first)
            rows = _rows(memory, run.offset + first * run.size, count, run.size)
            headers = rows[:, :HEADER_BYTES].tobytes()
            bodies = rows[:, HEADER_BYTES:] ^ self.masks(headers, count, run.size - HEADER_BYTES)
            if run.size > MIN_BYTES and (bodies[:, -1] == END).all():
                packing.add_rows(run, bodies[:, :-1])  # nothing has grown
                continue
            for body in bodies:
                try:
                    packing.add(run, shown(body.tobytes()))
                except RemoteProtocolError as error:
                    drop(error.reason)
        _each_unwrapped(self, _datagrams(memory, run, equal), run, packing, drop)


class RunEncapsulation(Encapsulation):
    """The mask of release 0.9.20 for whole runs."""

    def __init__(self, key: Buffer, suite: Suite, count: int = FIRST_COUNT) -> None:
        super().__init__(key, suite, count)
        compiled = twins.compiled("mask")
        self._compiled = compiled.Encapsulation(key) if compiled is not None else None

    def wrap_runs(self, memory: memoryview, runs: list[Run], _limit: int, packing: Packing) -> None:
        """As :func:`wrap_runs`; nothing grows. The headers of all are made at once."""
        count = sum([run.packets for run in runs])
        headers = self.headers(count)
        if self._compiled is not None:
            _fill(packing, count, partial(self._compiled.wrap, memory, runs, headers))
            return
        width, at = encapsulation.HEADER_BYTES, 0
        for run in runs:
            for start, size, packets in _equal_parts(run):
                rows = np.empty((packets, width + size), np.uint8)
                own = headers[at : at + packets * width]
                rows[:, :width] = np.frombuffer(own, np.uint8).reshape(packets, width)
                rows[:, width:] = _rows(memory, start, packets, size)
                masks = self.masks(own, packets)
                rows[:, width : width + MASKED_BYTES] ^= masks[:, :size]
                packing.add_rows(run, rows)
                at += len(own)

    def unwrap_runs(
        self, memory: memoryview, runs: list[Run], packing: Packing, drop: Dropped
    ) -> None:
        """As :func:`unwrap_runs`."""
        if self._compiled is not None:
            _unwrap_compiled(self._compiled.unwrap, memory, runs, packing, drop)
            return
        width = encapsulation.HEADER_BYTES
        for run in runs:
            for start, size, packets in _equal_parts(run):
                if size < encapsulation.MIN_BYTES:
                    for _ in range(packets):
                        drop(Drop.TOO_SHORT)
                    continue
                rows = _rows(memory, start, packets, size)
                bodies = rows[:, width:].copy()
                bodies[:, :MASKED_BYTES] ^= self.masks(rows[:, :width].tobytes(), packets)
                packing.add_rows(run, bodies)


def wrap_runs(
    mask: Mask, memory: memoryview, runs: list[Run], limit: int, packing: Packing
) -> None:
    """Wrap each datagram of runs; ``limit`` is that of :meth:`Mask.wrap`."""
    if isinstance(mask, RunShroud | RunEncapsulation):
        mask.wrap_runs(memory, runs, limit, packing)
        return
    for run in runs:
        for datagram in _datagrams(memory, run):
            packing.add(run, mask.wrap(datagram, limit))


def unwrap_runs(
    mask: Mask, memory: memoryview, runs: list[Run], packing: Packing, drop: Dropped
) -> None:
    """Unwrap each untrusted datagram of runs."""
    if isinstance(mask, RunShroud | RunEncapsulation):
        mask.unwrap_runs(memory, runs, packing, drop)
        return
    for run in runs:
        _each_unwrapped(mask, _datagrams(memory, run), run, packing, drop)


def _fill(packing: Packing, count: int, step: Callable[[int, Lent], tuple[int, int]]) -> None:
    """Have ``count`` datagrams packed by steps that each fill a slot: from which datagram on, and
    what is lent; how far that is used then, and how many datagrams are done.
    """
    done = 0
    while True:
        end, done = step(done, packing.lend())
        packing.took(end)
        if done == count:
            return
        packing.finish()


def _unwrap_compiled(
    unwrap: Callable[[memoryview, list[Run], int, Lent], tuple[int, int, int, int]],
    memory: memoryview,
    runs: list[Run],
    packing: Packing,
    drop: Dropped,
) -> None:
    def step(done: int, lent: Lent) -> tuple[int, int]:
        end, done, short, bad = unwrap(memory, runs, done, lent)
        for _ in range(short):
            drop(Drop.TOO_SHORT)
        for _ in range(bad):
            drop(Drop.BAD_MASK)
        return end, done

    _fill(packing, sum([run.packets for run in runs]), step)


def _each_unwrapped(
    mask: Mask,
    datagrams: Iterator[memoryview],
    like: Run,
    packing: Packing,
    drop: Dropped,
) -> None:
    for datagram in datagrams:
        try:
            packing.add(like, mask.unwrap(datagram))
        except RemoteProtocolError as error:
            drop(error.reason)


def _equal(run: Run) -> int:
    """How many of a run's datagrams, from the first on, are dealt with together."""
    equal = run.packets if run.last == run.size else run.packets - 1
    return equal if equal >= _WORTH_ARRAYS else 0


def _equal_parts(run: Run) -> Iterator[tuple[int, int, int]]:
    """Offset, size and number of equal packets, of which an array is made."""
    whole = run.packets if run.last == run.size else run.packets - 1
    for first in range(0, whole, _ROWS):
        yield run.offset + first * run.size, run.size, min(_ROWS, whole - first)
    if whole < run.packets:
        yield run.end - run.last, run.last, 1


def _rows(memory: memoryview, at: int, count: int, size: int) -> Bytes:
    return np.frombuffer(memory, np.uint8, count * size, at).reshape(count, size)


def _datagrams(memory: memoryview, run: Run, first: int = 0) -> Iterator[memoryview]:
    """The datagrams of a run from one of them on."""
    last = run.end - run.last
    for at in range(run.offset + first * run.size, last, run.size):
        yield memory[at : at + run.size]
    if first < run.packets:
        yield memory[last : run.end]
