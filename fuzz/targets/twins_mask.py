"""Both twins put the same masks on, and take the same off, in the same runs.

Shroud (protocol section 5): what has grown, what is no masked datagram, and slots that run full.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.masking import RunShroud, unwrap_runs, wrap_runs
from chancel.daemon.hot.packing import Packing
from chancel.daemon.run import Run
from fuzz import twinned
from fuzz.script import Script
from tests.daemon.naive import fill, new_slot, packets_of

_KEY = bytes(range(32))
_LIMITS = (0, 100, 576, 1373)
_MARK = bytes(range(100, 132))
_SOURCES = (bytes(18), b"\1" * 18)
_MOST_RUNS, _MOST_PACKETS = 6, 10
_MOST_BYTES = 400
_SLOT_BYTES = 4096
_MOST = 5
"""Runs in a batch."""

_PLAIN = new_slot(64 * 1024)
MOST_BYTES = 512

Batches = list[tuple[list[Run], list[bytes]]]


class _Suite(SystemSuite):
    """Whose random bytes are the same for both."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(7).randbytes  # type: ignore[assignment,method-assign]


def check(data: bytes) -> None:
    script = Script(data)
    mark = script.pick((b"", _MARK))
    limit = script.pick(_LIMITS)
    runs, at = [], 0
    for _ in range(script.number() % _MOST_RUNS + 1):
        size = script.number(2) % _MOST_BYTES + 1
        packets = [script.take(1) * size for _ in range(script.number() % _MOST_PACKETS + 1)]
        packets[-1] = packets[-1][: max(1, size - script.number())]
        run = fill(_PLAIN, packets, at)._replace(source=script.pick(_SOURCES))
        runs.append(run)
        at = run.end
    damage = [(script.number(2), script.number()) for _ in range(script.number() % 4)]

    def mask() -> object:
        shroud = RunShroud(_KEY, _Suite(), lambda: mark)
        wrapped = _packed(lambda packing: wrap_runs(shroud, _PLAIN.memory, runs, limit, packing))
        drops: list[str] = []
        unwrapped = [_unwrap(shroud, *batch, damage, drops) for batch in wrapped]
        plain = _packed(  # what was never masked
            lambda packing: unwrap_runs(
                shroud, _PLAIN.memory, runs, packing, lambda reason: drops.append(str(reason))
            )
        )
        return wrapped, unwrapped, plain, sorted(drops)

    twinned.compare(mask)


def _unwrap(
    shroud: RunShroud,
    runs: list[Run],
    packets: list[bytes],
    damage: list[tuple[int, int]],
    drops: list[str],
) -> Batches:
    """What becomes of a batch of masked datagrams, of which some bytes were changed."""
    slot, at = new_slot(_SLOT_BYTES), 0
    for run in runs:
        own = packets[: run.packets]
        packets = packets[run.packets :]
        assert fill(slot, own, run.offset).end == run.end
        at = run.end
    for place, value in damage:
        slot.memory[place % at] ^= value
    return _packed(
        lambda packing: unwrap_runs(
            shroud, slot.memory, runs, packing, lambda reason: drops.append(str(reason))
        )
    )


def _packed(change: Callable[[Packing], None]) -> Batches:
    """The batches that come of it: runs, and their packets."""
    batches: Batches = []
    packing = Packing(
        lambda: new_slot(_SLOT_BYTES),
        lambda slot, its: batches.append((list(its), packets_of(slot, its))),
        _MOST,
    )
    change(packing)
    packing.finish()
    return batches


def seeds() -> Iterator[bytes]:
    for mark in (0, 1):
        for limit in range(len(_LIMITS)):
            for size in (32, 49, 100, 350):
                run = size.to_bytes(2, "big") + bytes((6, 1, 2, 3, 4, 5, 6, 7, 30, 0))
                yield bytes((mark, limit, 3)) + run * 4 + bytes((1, 0, 60, 3))
