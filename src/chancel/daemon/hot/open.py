"""Opening runs: the fifth hot function (protocol section 3.3).

A run whose packets share SPI and flocks and whose numbers only go up, beyond what was seen, is
checked as arrays and opened as a whole. Everything else (reordered, duplicated, forged, two keys in
one train) takes the way packet by packet, which does the same.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from cryptography.exceptions import InvalidTag

from chancel.daemon.hot.seal import Nonces
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.opening import Opener
from chancel.wire.traffic import (
    HEADER_BYTES,
    NEXT_GRACE,
    NEXT_INNER,
    OVERHEAD_BYTES,
    TAG_BYTES,
    TAIL_BYTES,
)

_SHRINK = HEADER_BYTES + TAG_BYTES
_KNOWN_NEXT = (NEXT_INNER, NEXT_GRACE)


def open_run(
    opener: Opener,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
    now: float,
) -> list[Run]:
    """Open one run of untrusted datagrams from ``source`` to offset ``at`` of ``target``.

    Returns runs of inner packets and graces with their tails behind them. What is refused is
    counted in the opener's drops.
    """
    opened = _open_all(opener, nonces, source, run, target, at, now)
    if opened is None:
        return _open_each(opener, source, run, target, at, now)
    return _by_next(opener, target, opened)


def _open_all(
    opener: Opener,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
    now: float,
) -> Run | None:
    """Open the run as a whole, or touch nothing but ``target`` and return ``None``."""
    if run.last < OVERHEAD_BYTES:
        return None
    count = run.packets
    whole = count if run.last == run.size else count - 1
    headers = np.lib.stride_tricks.as_strided(
        source.array[run.offset : run.end],
        shape=(count, HEADER_BYTES),
        strides=(run.size, 1),
        writeable=False,
    )
    first = headers[0].tobytes()
    slot = opener.lookup(int.from_bytes(first[:4], "big"))
    if (
        slot is None
        or first[16:32] != opener.expected_flocks
        or not (headers[:, 16:32] == headers[0, 16:32]).all()
        or not (headers[:, :4] == headers[0, :4]).all()
        or not (headers[:, 4:8] == headers[:, 12:16]).all()
    ):
        return None
    raw_numbers = np.ascontiguousarray(headers[:, 8:16])
    numbers = raw_numbers.view(">u8")[:, 0].astype(np.uint64)
    if not slot.window.check_all(numbers):
        return None
    nonces.array[:count, :4] = np.frombuffer(slot.salt, dtype=np.uint8)
    nonces.array[:count, 4:] = raw_numbers
    size = run.size - _SHRINK
    texts = source.packets(run.offset, run.size, whole, HEADER_BYTES, run.size)
    headers_of = source.packets(run.offset, run.size, count, 0, HEADER_BYTES)
    outs = target.packets(at, size, whole, 0, size)
    if whole != count:
        i = run.offset + whole * run.size
        o = at + whole * size
        texts = [*texts, source.memory[i + HEADER_BYTES : i + run.last]]
        outs = [*outs, target.memory[o : o + run.last - _SHRINK]]
    try:
        deque(map(slot.aead.decrypt_into, nonces.views[:count], texts, headers_of, outs), maxlen=0)
    except InvalidTag:
        return None
    slot.window.mark_all(numbers)
    opener.authenticated(slot, now, count)
    return Run(run.tunnel, 0, count, size, run.last - _SHRINK, at, run.source)


def _open_each(
    opener: Opener, source: SlotView, run: Run, target: SlotView, at: int, now: float
) -> list[Run]:
    """Open packet by packet; every packet that is accepted becomes a run or joins the last one."""
    runs: list[Run] = []
    for i in range(run.packets):
        offset = run.offset + i * run.size
        stop = offset + (run.last if i == run.packets - 1 else run.size)
        try:
            opened = opener.open_untrusted(source.memory[offset:stop], now)
        except RemoteProtocolError as error:
            opener.drops[error.reason] += 1
            continue
        size = len(opened.payload) + TAIL_BYTES
        target.memory[at : at + size] = opened.payload + bytes((0, opened.next_))
        last = runs[-1] if runs else None
        if last and last.next == opened.next_ and last.size == last.last >= size:
            runs[-1] = last._replace(packets=last.packets + 1, last=size)
        else:
            runs.append(Run(run.tunnel, opened.next_, 1, size, size, at, run.source))
        at += size
    return runs


def _by_next(opener: Opener, target: SlotView, run: Run) -> list[Run]:
    """Part an opened run by its packets' tails (protocol section 3.3, steps 6 and 8)."""
    tails = _tails(target, run)
    if (tails == tails[0]).all() and tails[0, 0] == 0 and tails[0, 1] in _KNOWN_NEXT:
        return [run._replace(next=int(tails[0, 1]))]
    runs: list[Run] = []
    for i, (reserved, next_) in enumerate(tails.tolist()):
        if not opener.tail_allowed(reserved, next_):
            continue
        size = run.last if i == run.packets - 1 else run.size
        offset = run.offset + i * run.size
        last = runs[-1] if runs else None
        if last and last.next == next_ and last.size == last.last >= size and last.end == offset:
            runs[-1] = last._replace(packets=last.packets + 1, last=size)
        else:
            runs.append(Run(run.tunnel, next_, 1, size, size, offset, run.source))
    return runs


def _tails(target: SlotView, run: Run) -> Bytes:
    """The (reserved, next) bytes of each packet."""
    tails = np.empty((run.packets, TAIL_BYTES), dtype=np.uint8)
    whole = run.packets - 1
    if whole:
        tails[:-1] = target.rows(run.offset, run.size, whole)[:, -TAIL_BYTES:]
    tails[-1] = target.array[run.end - TAIL_BYTES : run.end]
    return tails
