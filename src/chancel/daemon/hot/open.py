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
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.opening import Opener
from chancel.wire.traffic import (
    NEXT_GRACE,
    NEXT_INNER,
    TAG_BYTES,
    TAIL_BYTES,
)

_KNOWN_NEXT = (NEXT_INNER, NEXT_GRACE)
_LOW_32 = np.uint64(0xFFFF_FFFF)
_VECTOR_FROM = 4
"""Packets from which on arrays cost less than they spare."""


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

    Returns at most two runs, of inner packets and of graces, with their tails behind them. What is
    refused is counted in the opener's drops.
    """
    opened = None
    if run.packets >= _VECTOR_FROM and run.last >= opener.layout.overhead_bytes:
        opened = _open_all(opener, nonces, source, run, target, at, now)
    if opened is None:
        return _open_each(opener, source, run, target, at, now)
    return _by_next(opener, target, opened)


def spi_of(source: SlotView, run: Run) -> int:
    """The SPI of a run's first datagram, which nobody has authenticated."""
    return int.from_bytes(source.memory[run.offset : run.offset + 4], "big")


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
    count, layout = run.packets, opener.layout
    head = layout.header_bytes
    shape = (count, head // 8)
    words = np.ndarray(shape, ">u8", source.memory, run.offset, (run.size, 8)).astype(np.uint64)
    numbers = words[:, 1]
    spi = int(words[0, 0]) >> 32
    slot = opener.lookup(spi)
    if (
        slot is None
        or source.memory[run.offset + 16 : run.offset + head] != opener.expected_flocks
        or np.count_nonzero(words[:, 2:] != words[0, 2:])
        or np.count_nonzero(words[:, 0] != (numbers & _LOW_32) + np.uint64(spi << 32))
        or not slot.window.check_all(numbers)
    ):
        return None
    nonces.salt(slot.salt)
    nonces.numbers[:count] = numbers
    whole = count if run.last == run.size else count - 1
    shrink = head + TAG_BYTES
    size = run.size - shrink
    texts = source.packets(run.offset, run.size, whole, head, run.size)
    bound = layout.associated_data_of_all(source.packets(run.offset, run.size, count, 0, head))
    outs = target.packets(at, size, whole, 0, size)
    if whole != count:
        i = run.offset + whole * run.size
        o = at + whole * size
        texts = [*texts, source.memory[i + head : i + run.last]]
        outs = [*outs, target.memory[o : o + run.last - shrink]]
    try:
        deque(map(slot.aead.decrypt_into, nonces.first(count), texts, bound, outs), maxlen=0)
    except InvalidTag:
        return None
    slot.window.mark_all(numbers)
    opener.authenticated(slot, now, count)
    return Run(run.tunnel, 0, count, size, run.last - shrink, at, run.source)


def _open_each(
    opener: Opener, source: SlotView, run: Run, target: SlotView, at: int, now: float
) -> list[Run]:
    """Open packet by packet."""
    packets: list[tuple[bytes, int]] = []
    for i in range(run.packets):
        offset = run.offset + i * run.size
        stop = offset + (run.last if i == run.packets - 1 else run.size)
        try:
            payload, next_ = opener.open_untrusted(source.memory[offset:stop], now)
        except RemoteProtocolError as error:
            opener.drops[error.reason] += 1
            continue
        packets.append((payload + bytes((0, next_)), next_))
    return _lay_out(target, run, at, packets)


def _by_next(opener: Opener, target: SlotView, run: Run) -> list[Run]:
    """Part an opened run by its packets' tails (protocol section 3.3, steps 6 and 8)."""
    whole = run.packets - 1
    tails = target.column(">u2", run.offset + run.size - TAIL_BYTES, run.size, whole)
    last = int.from_bytes(target.memory[run.end - TAIL_BYTES : run.end], "big")
    if last in _KNOWN_NEXT and not np.count_nonzero(tails != last):
        return [run._replace(next=last)]
    packets: list[tuple[bytes, int]] = []
    for i, tail in enumerate([*tails.tolist(), last]):
        if opener.tail_allowed(tail >> 8, tail & 0xFF):
            offset = run.offset + i * run.size
            size = run.last if i == whole else run.size
            packets.append((bytes(target.memory[offset : offset + size]), tail))
    return _lay_out(target, run, run.offset, packets)


def _lay_out(target: SlotView, run: Run, at: int, packets: list[tuple[bytes, int]]) -> list[Run]:
    """Lay packets with their tails (and next) side by side: inner packets, then graces.

    No flow is reordered by that, and a peer can't make more runs than a batch may have. All have
    one size but the last, which stays the last of its kind.
    """
    if len(packets) == 1:
        data, kind = packets[0]
        size = len(data)
        target.memory[at : at + size] = data
        return [Run(run.tunnel, kind, 1, size, size, at, run.source)]
    runs: list[Run] = []
    for kind in _KNOWN_NEXT:
        chosen = [packet for packet, next_ in packets if next_ == kind]
        if chosen:
            data = b"".join(chosen)
            target.memory[at : at + len(data)] = data
            size, last = len(chosen[0]), len(chosen[-1])
            runs.append(Run(run.tunnel, kind, len(chosen), size, last, at, run.source))
            at += len(data)
    return runs
