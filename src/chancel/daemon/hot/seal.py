"""Sealing runs: the second hot function (protocol section 3.2).

Headers and nonces are written as arrays; the cipher runs through ``map`` over views, so that Python
itself stays out of the loop. A few packets are sealed one by one, since arrays would cost more than
they spare.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from chancel.daemon.hot import twins
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, Run
from chancel.errors import LocalProtocolError
from chancel.protocol.traffic import Reservation
from chancel.protocol.window import Numbers
from chancel.wire.traffic import TAG_BYTES, TAIL_BYTES, numbered
from chancel.wire.types import Buffer

ENOUGH = 6
"""Packets of a run from which on arrays cost less than they spare, where the run is one of many."""
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
    return compiled.seal_runs if compiled else partial(seal_runs, kept_nonces())


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

        Runs mostly come under the same key, one after another. The views of nonces and headers,
        which are as many as there is room for, have them now.
        """
        count = len(numbers)
        if salt != self._salt or blank != self._blank or count > self._room:
            self._set(salt, blank, count)
        for place in self._numbers:
            place[:count] = numbers

    def shown(self, count: int) -> bytearray:
        """The first headers, one after the other: a copy."""
        return self._shown[: count * len(self._blank)]

    def _set(self, salt: bytes, blank: bytes, count: int) -> None:
        if count > self._room or len(blank) != len(self._blank):
            self._make_room(max(count, _LEAST_ROOM), len(blank))
        self._salt, self._blank = salt, blank
        self.headers[:] = np.void(blank)
        self._salts[:] = np.void(salt)

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
        self.nonce_views = [view[at : at + 12] for at in range(0, 12 * room, 12)]
        view = memoryview(headers)
        self.header_views = [view[at : at + size] for at in range(0, size * room, size)]


@cache
def kept_nonces() -> Nonces:
    """Those of this process: it uses them for the length of a call."""
    return Nonces()


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
        if run.packets < ENOUGH:
            _seal_each(keys, first, source, run, target, at)
        else:
            seal_all(keys, first, nonces, source, run, target, at)
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


def seal_all(
    keys: Reservation,
    first: int,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
) -> None:
    """Seal a run of two packets or more to offset ``at``, numbered from ``first``."""
    aead, salt, _first, blank, layout, _packets = keys
    _tunnel, next_, count, plain, last, offset, _source = run
    head = len(blank)
    size = plain + head + TAG_BYTES
    nonces.number(salt, blank, nonces.count[:count] + first)
    headers = np.ndarray((count,), nonces.headers.dtype, target.memory, at, (size,))
    headers[:] = nonces.headers[:count]
    texts: Sequence[Buffer] = source.packets(offset, plain, count, 0, plain)
    outs = target.packets(at, size, count, head, size)
    if last != plain:
        i, o = offset + (count - 1) * plain, at + (count - 1) * size + head
        texts = [*texts[:-1], source.memory[i : i + last]]
        outs = [*outs[:-1], target.memory[o : o + last + TAG_BYTES]]
    if next_:
        texts = [_tailed(text, next_) for text in texts]
    bound = layout.associated_data_of_all(nonces.header_views)
    # ``map`` ends with its shortest: the texts are as many as there are packets.
    deque(map(aead.encrypt_into, nonces.nonce_views, texts, bound, outs), maxlen=0)


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
