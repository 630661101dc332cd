"""Opening runs: the fifth hot function (protocol section 3.3).

A run whose packets are all of one key, numbered one after the other and beyond what was seen, is
checked by one comparison and opened as a whole. Everything else (gaps, reordered, duplicated,
forged, two keys in one train) takes the way packet by packet, which does the same.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag

from chancel.daemon.hot import twins
from chancel.daemon.hot.seal import ENOUGH, Nonces, kept_nonces
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.opening import Opener, Slot
from chancel.protocol.window import Numbers
from chancel.wire.traffic import (
    NEXT_GRACE,
    NEXT_INNER,
    TAG_BYTES,
    TAIL_BYTES,
    TrafficLayout,
)

_LOW_32 = 0xFFFF_FFFF
_NUMBERS = struct.Struct("!IIQ")
_INNER_TAIL = bytes((0, NEXT_INNER))
_UNNUMBERED = bytes(12)
_ALIGN = 16
OpenRuns = Callable[[Opener, SlotView, list[Run], SlotView, int, float], list[Run]]
"""Open runs of one tunnel's untrusted datagrams from a slot to an offset of another.

Each becomes at most two runs, of inner packets and of graces, with their tails behind them. What is
refused is counted in the opener's drops. Arguments: the opener, awake at that time; where the runs
lie, and they; where they go; the time.
"""


class Opening(NamedTuple):
    """What opens in a process. ``copies``: whether it works on copies of what it reads, so that
    the writer of the source may go on changing it."""

    open_runs: OpenRuns
    copies: bool


def opening() -> Opening:
    """What opens from now on: the compiled twin, where it is in use."""
    compiled = twins.compiled("open")
    if compiled:
        return Opening(compiled.open_runs, copies=True)
    return Opening(partial(open_runs, kept_nonces()), copies=False)


def open_runs(
    nonces: Nonces,
    opener: Opener,
    source: SlotView,
    runs: Sequence[Run],
    target: SlotView,
    at: int,
    now: float,
) -> list[Run]:
    """An :data:`OpenRuns`, with ``nonces`` to work in. Nobody may change ``source`` meanwhile."""
    opened: list[Run] = []
    for run in runs:
        whole = None
        if run.packets >= ENOUGH and run.last >= opener.layout.overhead_bytes:
            whole = _open_all(opener, nonces, source, run, target, at, now)
        if whole is not None:
            found = _by_next(opener, target, whole)
        else:
            found = _open_each(opener, source, run, target, at, now)
        if found:
            opened += found
            at = -(-found[-1].end // _ALIGN) * _ALIGN
    return opened


def open_run(
    opener: Opener,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
    now: float,
) -> list[Run]:
    """Open one run by itself: see :data:`OpenRuns`."""
    return open_runs(nonces, opener, source, (run,), target, at, now)


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
    slot = opener.lookup(spi_of(source, run))
    if slot is None:
        return None
    numbers = open_all(slot, opener.layout, opener.expected_flocks, nonces, source, run, target, at)
    if numbers is None:
        return None
    if slot is not opener.active:  # the first packet under a new key may change its window
        slot.window.mark(int(numbers[0]))
        opener.authenticated(slot, now, 1)
        numbers = numbers[1:]
    slot.window.mark_all(numbers)
    opener.authenticated(slot, now, len(numbers))
    shrink = opener.layout.overhead_bytes - TAIL_BYTES
    return Run(run.tunnel, 0, run.packets, run.size - shrink, run.last - shrink, at, run.source)


def open_all(
    slot: Slot,
    layout: TrafficLayout,
    flocks: bytes,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
) -> Numbers | None:
    """Open a run of two packets or more, all of one key, to offset ``at``.

    Returns their numbers, which go up and are beyond what was seen, and are still to be marked; or
    ``None``, and nothing but ``target`` was touched. No packet is shorter than a heartbeat.
    """
    _tunnel, _next, count, size, last, offset, _source = run
    head, memory = layout.header_bytes, source.memory
    numbers = np.ndarray((count,), ">u8", memory, offset + 8, (size,)).astype(np.uint64)
    if not slot.window.check_all(numbers):
        return None
    blank = b"".join((memory[offset : offset + 4], _UNNUMBERED, flocks))
    nonces.number(slot.salt, blank, numbers)
    headers = np.ndarray((count,), nonces.headers.dtype, memory, offset, (size,))
    if headers.tobytes() != nonces.shown(count):
        return None
    opened = size - head - TAG_BYTES
    texts = source.packets(offset, size, count, head, size)
    outs = target.packets(at, opened, count, 0, opened)
    if last != size:
        i, o = offset + (count - 1) * size, at + (count - 1) * opened
        texts = [*texts[:-1], memory[i + head : i + last]]
        outs = [*outs[:-1], target.memory[o : o + last - head - TAG_BYTES]]
    bound = layout.associated_data_of_all(nonces.header_views)
    try:
        # ``map`` ends with its shortest: the texts are as many as there are packets.
        deque(map(slot.aead.decrypt_into, nonces.nonce_views, texts, bound, outs), maxlen=0)
    except InvalidTag:
        return None
    return numbers


def _open_each(
    opener: Opener, source: SlotView, run: Run, target: SlotView, at: int, now: float
) -> list[Run]:
    """Open packet by packet: inner packets to where they stay, graces, which are few, aside."""
    sizes: list[int] = []
    graces: list[bytes] = []
    out, end = target.memory, at
    start, stop = run.offset, run.end
    while start < stop:
        datagram = source.memory[start : min(start + run.size, stop)]
        start += run.size
        size = _open_next(opener, datagram, out, end, now)
        if size is None:
            try:
                payload, next_ = opener.open_untrusted(datagram, now)
            except RemoteProtocolError as error:
                opener.drops[error.reason] += 1
                continue
            packet = payload + bytes((0, next_))
            if next_ != NEXT_INNER:
                graces.append(packet)
                continue
            size = len(packet)
            out[end : end + size] = packet
        sizes.append(size)
        end += size
    runs = []
    if sizes:
        runs.append(Run(run.tunnel, NEXT_INNER, len(sizes), sizes[0], sizes[-1], at, run.source))
    if graces:
        runs.append(_lay_out(target, run, NEXT_GRACE, end, graces))
    return runs


def _open_next(
    opener: Opener, datagram: memoryview, out: memoryview, at: int, now: float
) -> int | None:
    """Open a packet as :func:`open_ordinary` does, under the active key."""
    slot = opener.active
    if slot is None:
        return None
    size = open_ordinary(slot, opener.layout, opener.expected_flocks, datagram, out, at)
    if size is not None:
        opener.authenticated(slot, now, 1)
    return size


def open_ordinary(
    slot: Slot,
    layout: TrafficLayout,
    flocks: bytes,
    datagram: memoryview | bytes,
    out: memoryview,
    at: int,
) -> int | None:
    """Open an inner packet under this key whose number is beyond all others, and no other.

    That is nearly each. Returns its size, and the number is marked; or ``None``, and nothing but
    ``out`` was touched.
    """
    if len(datagram) < layout.overhead_bytes:
        return None
    spi, sequence, number = _NUMBERS.unpack_from(datagram)
    header = bytes(datagram[: layout.header_bytes])
    if (
        spi != slot.spi
        or number <= slot.window.highest
        or sequence != number & _LOW_32
        or header[16:] != flocks
    ):
        return None
    end = at + len(datagram) - len(header) - TAG_BYTES
    text, bound = datagram[len(header) :], layout.associated_data(header)
    try:
        slot.aead.decrypt_into(slot.salt + header[8:16], text, bound, out[at:end])
    except InvalidTag:
        return None
    if out[end - TAIL_BYTES : end] != _INNER_TAIL:
        return None
    slot.window.mark(number)
    return end - at


def all_inner(target: SlotView, run: Run) -> bool:
    """Whether the tail of each packet of an opened run says that it is an inner packet."""
    at = run.offset + run.size - TAIL_BYTES
    tails = np.ndarray((run.packets - 1,), "=u2", target.memory, at, (run.size,))
    return target.memory[run.end - TAIL_BYTES : run.end] == _INNER_TAIL and not tails.any()


def _by_next(opener: Opener, target: SlotView, run: Run) -> list[Run]:
    """Part an opened run by its packets' tails (protocol section 3.3, steps 6 and 8)."""
    if all_inner(target, run):
        return [run]
    whole = run.packets - 1
    tails = target.column(">u2", run.offset + run.size - TAIL_BYTES, run.size, whole)
    last = int.from_bytes(target.memory[run.end - TAIL_BYTES : run.end], "big")
    packets: dict[int, list[bytes]] = {NEXT_INNER: [], NEXT_GRACE: []}
    for i, tail in enumerate([*tails.tolist(), last]):
        if opener.tail_allowed(tail >> 8, tail & 0xFF):
            offset = run.offset + i * run.size
            size = run.last if i == whole else run.size
            packets[tail].append(bytes(target.memory[offset : offset + size]))
    runs, at = [], run.offset
    for kind, chosen in packets.items():
        if chosen:
            runs.append(_lay_out(target, run, kind, at, chosen))
            at = runs[-1].end
    return runs


def _lay_out(target: SlotView, run: Run, kind: int, at: int, packets: list[bytes]) -> Run:
    """Lay packets of one kind, with their tails, side by side.

    Inner packets stand before graces: no flow is reordered by that, and a peer can't make more runs
    than a batch may have. All have one size but the last, which stays the last of its kind.
    """
    data = b"".join(packets)
    target.memory[at : at + len(data)] = data
    sizes = len(packets), len(packets[0]), len(packets[-1])
    return Run(run.tunnel, kind, *sizes, at, run.source)
