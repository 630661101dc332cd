"""Sealing runs: the second hot function (protocol section 3.2).

Headers and nonces are written as arrays; the cipher runs through ``map`` over views, so that Python
itself stays out of the loop. A few packets are sealed one by one, since arrays would cost more than
they spare.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from chancel.daemon.hot import twins
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, Run
from chancel.errors import LocalProtocolError
from chancel.protocol.traffic import Reservation
from chancel.protocol.window import Numbers
from chancel.wire.traffic import TAG_BYTES, TAIL_BYTES, numbered
from chancel.wire.types import Buffer

_VECTOR_FROM = 6
_LEAST_ROOM = 32
_ALIGN = 16
_NONCE = struct.Struct("!4sQ")

SealRuns = Callable[[Reservation, SlotView, list[Run], SlotView, int], list[Run]]
"""Seal runs of one tunnel from a slot to an offset of another; returns the sealed runs.

The packets carry their tails already; what they are (``Run.next``) is written into these on the
way. The numbers reserved are as many as there are packets.
"""


def sealing() -> SealRuns:
    """What seals in this process from now on: the compiled twin, where it is in use."""
    compiled = twins.compiled("seal")
    return compiled.seal_runs if compiled else partial(seal_runs, Nonces())


class Nonces:
    """Nonces and headers of the packets of a run, in memory of our own, with the views kept.

    A nonce is four bytes of salt and the packet number (big-endian, 64 bit). There is room for as
    many packets as any run so far had.
    """

    def __init__(self) -> None:
        self._salt = self._blank = b""
        self._room = 0
        self.count = np.arange(MAX_RUN_PACKETS, dtype=np.uint64)
        """0, 1, 2, …"""

    def number(self, salt: bytes, blank: bytes, numbers: Numbers) -> None:
        """Prepare packets with these numbers; ``blank`` is a header of this key.

        Runs mostly come under the same key, one after another.
        """
        count = len(numbers)
        if count > self._room or len(blank) != len(self._blank):
            self._make_room(max(count, _LEAST_ROOM), len(blank))
        if blank != self._blank:
            self._blank = blank
            self.headers[:] = np.void(blank)
        if salt != self._salt:
            self._salt = salt
            self._salts[:] = np.void(salt)
        for place in self._numbers:
            place[:count] = numbers

    def first(self, count: int) -> list[memoryview]:
        """Views of the first nonces."""
        return self._nonce_views[:count]

    def shown(self, count: int) -> bytearray:
        """The first headers, one after the other: a copy."""
        return self._shown[: count * len(self._blank)]

    def first_headers(self, count: int) -> list[memoryview]:
        """Views of the first headers."""
        return self._header_views[:count]

    def _make_room(self, count: int, size: int) -> None:
        self._salt = self._blank = b""
        self._room = room = min(2 * count, MAX_RUN_PACKETS)
        nonces, headers = bytearray(12 * room), bytearray(size * room)
        self._shown = headers
        self._salts = np.ndarray((room,), "V4", nonces, 0, (12,))
        self.headers = np.ndarray((room,), f"V{size}", headers)
        """Headers as elements of an array."""
        self._numbers = (
            np.ndarray((room,), ">u8", nonces, 4, (12,)),
            np.ndarray((room,), ">u8", headers, 8, (size,)),
            np.ndarray((room,), ">u4", headers, 4, (size,)),
        )
        view = memoryview(nonces)
        self._nonce_views = [view[at : at + 12] for at in range(0, 12 * room, 12)]
        view = memoryview(headers)
        self._header_views = [view[at : at + size] for at in range(0, size * room, size)]


def seal_runs(
    nonces: Nonces,
    keys: Reservation,
    source: SlotView,
    runs: Sequence[Run],
    target: SlotView,
    at: int,
) -> list[Run]:
    """A :data:`SealRuns`, with ``nonces`` to work in."""
    sealed = []
    first, left = keys.first_number, keys.packets
    growth = len(keys.header) + TAG_BYTES
    for run in runs:
        left -= run.packets
        if left < 0:
            raise LocalProtocolError("runs have more packets than numbers were reserved for them")
        if run.packets < _VECTOR_FROM:
            _seal_each(keys, first, source, run, target, at)
        else:
            _seal_all(keys, first, nonces, source, run, target, at)
        first += run.packets
        size, last = run.size + growth, run.last + growth
        sealed.append(Run(run.tunnel, 0, run.packets, size, last, at))
        at = -(-(at + (run.packets - 1) * size + last) // _ALIGN) * _ALIGN
    return sealed


def seal_run(
    keys: Reservation, nonces: Nonces, source: SlotView, run: Run, target: SlotView, at: int
) -> Run:
    """Seal one run by itself: see :data:`SealRuns`."""
    return seal_runs(nonces, keys, source, (run,), target, at)[0]


def _seal_all(
    keys: Reservation,
    first: int,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
) -> None:
    head, count = len(keys.header), run.packets
    size = run.size + head + TAG_BYTES
    nonces.number(keys.salt, keys.header, nonces.count[:count] + np.uint64(first))
    target.column(f"V{head}", at, size, count)[:] = nonces.headers[:count]
    bound = keys.layout.associated_data_of_all(nonces.first_headers(count))
    texts: Sequence[Buffer] = source.packets(run.offset, run.size, count, 0, run.size)
    outs = target.packets(at, size, count, head, size)
    if run.last != run.size:
        i = run.offset + (count - 1) * run.size
        o = at + (count - 1) * size
        texts = [*texts[:-1], source.memory[i : i + run.last]]
        outs = [*outs[:-1], target.memory[o + head : o + head + run.last + TAG_BYTES]]
    if run.next:
        texts = [_tailed(text, run.next) for text in texts]
    deque(map(keys.aead.encrypt_into, nonces.first(count), texts, bound, outs), maxlen=0)


def _seal_each(
    keys: Reservation, first: int, source: SlotView, run: Run, target: SlotView, at: int
) -> None:
    aead, salt, _first, blank, layout, _packets = keys
    plain, sealed, head = source.memory, target.memory, len(blank)
    i, end = run.offset, run.end
    for number in range(first, first + run.packets):
        stop = min(i + run.size, end)
        text: Buffer = plain[i:stop]
        header = numbered(blank, number)
        body = at + head
        sealed[at:body] = header
        at = body + stop - i + TAG_BYTES
        aead.encrypt_into(
            _NONCE.pack(salt, number),
            _tailed(text, run.next) if run.next else text,
            layout.associated_data(header),
            sealed[body:at],
        )
        i = stop


def _tailed(text: Buffer, next_: int) -> bytes:
    """The packet with ``next_`` in its tail; the slot it lies in is not ours to write."""
    return bytes(text[:-TAIL_BYTES]) + bytes((0, next_))
