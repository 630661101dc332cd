"""Runs put under masks, and taken from under them, are the datagrams masked one by one.

Runs fit their slots and batches; what can't be unwrapped is counted, each datagram once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from chancel.daemon.hot.masking import RunEncapsulation, RunShroud, unwrap_runs, wrap_runs
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run, decode_runs, encode_runs
from chancel.errors import RemoteProtocolError
from chancel.protocol.masking import Mask
from chancel.sim.suite import FastSuite
from chancel.wire.drop import Drop
from fuzz.script import Script
from tests.daemon.naive import fill, new_slot, packets_of

_KEY = bytes(range(32))
_LIMITS = (0, 576, 1373)
_SOURCES = (bytes(18), b"\1" * 18)
_MOST_RUNS, _MOST_PACKETS = 8, 8
_MOST_BYTES = 300
_SLOT_BYTES = 4096
_MOST = 5
"""Runs in a batch."""
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    suite = FastSuite(random.Random(1))
    masks: tuple[Mask, ...] = (RunShroud(_KEY, suite), RunEncapsulation(_KEY, suite))
    mask = script.pick(masks)
    runs: list[Run] = []
    slot, plain, at = new_slot(64 * 1024), [], 0
    for _ in range(script.number() % _MOST_RUNS + 1):
        size = script.number() % _MOST_BYTES + 1
        packets = [script.take(1) * size for _ in range(script.number() % _MOST_PACKETS + 1)]
        packets[-1] = packets[-1][: max(1, size - script.number())]
        run = fill(slot, packets, at)._replace(source=script.pick(_SOURCES))
        runs.append(run)
        plain += packets
        at = run.end
    limit = script.pick(_LIMITS)
    wrapped = _packed(
        runs, lambda run, packing: wrap_runs(mask, slot.memory, [run], limit, packing)
    )
    masked = _laid_out(wrapped)
    assert len(masked) == len(plain)
    drops: list[Drop] = []
    came: list[bytes] = []
    for batch in wrapped:
        memory = batch.slot.memory

        def unwrap(run: Run, packing: Packing, memory: memoryview = memory) -> None:
            unwrap_runs(mask, memory, [run], packing, drops.append)

        came += _laid_out(_packed(batch.runs, unwrap))
    expected, reasons = _one_by_one(mask, masked)
    assert came == expected
    assert drops == reasons


class _Batch(NamedTuple):
    slot: SlotView
    runs: list[Run]


def _packed(runs: list[Run], change: Callable[[Run, Packing], None]) -> list[_Batch]:
    """The batches that come of runs whose packets are changed."""
    batches: list[_Batch] = []
    packing = Packing(
        lambda: new_slot(_SLOT_BYTES), lambda slot, its: batches.append(_Batch(slot, its)), _MOST
    )
    for run in runs:
        change(run, packing)
    packing.finish()
    for batch in batches:
        assert len(batch.runs) <= _MOST
        assert decode_runs(encode_runs(batch.runs), _SLOT_BYTES) == batch.runs
    return batches


def _laid_out(batches: list[_Batch]) -> list[bytes]:
    return [packet for batch in batches for packet in packets_of(batch.slot, batch.runs)]


def _one_by_one(mask: Mask, masked: list[bytes]) -> tuple[list[bytes], list[Drop]]:
    expected, reasons = [], []
    for datagram in masked:
        try:
            expected.append(mask.unwrap(datagram))
        except RemoteProtocolError as error:
            reasons.append(error.reason)
    return expected, reasons


def seeds() -> Iterator[bytes]:
    for mask in (0, 1):
        for size in (33, 49, 50, 200):
            yield bytes((mask, 3)) + bytes((size, 4, 1, 2, 3, 4, 5, 0, 0)) * 4 + bytes((1,))
