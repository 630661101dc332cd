"""Sealing runs: the second hot function (protocol section 3.2).

Headers and nonces are written as arrays; the cipher runs through ``map`` over views, so that Python
itself stays out of the loop.
"""

from __future__ import annotations

import struct
from collections import deque

import numpy as np
import numpy.typing as npt

from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run
from chancel.protocol.traffic import Reservation
from chancel.wire.traffic import TAG_BYTES, TAIL_BYTES

_VECTOR_FROM = 4
_NUMBERS = struct.Struct("!IQ")
_NONCE = struct.Struct("!4sQ")
_MOST = 4096
"""Packets of one run that are sealed at once; a slot of the smallest packets has fewer."""

_COUNT = np.arange(_MOST, dtype=np.uint64)


class Nonces:
    """Room for the nonces of a run, with the views kept.

    A nonce is four bytes of salt and the packet number (big-endian, 64 bit).
    """

    def __init__(self) -> None:
        self._memory = bytearray(12 * _MOST)
        self._salt = bytes(4)
        self.numbers: npt.NDArray[np.uint64] = np.ndarray((_MOST,), ">u8", self._memory, 4, (12,))
        """The packet numbers within the nonces, to be written."""
        self._view = memoryview(self._memory)
        self._views: list[memoryview] = []

    def first(self, count: int) -> list[memoryview]:
        """Views of the first nonces, made when that many are first wanted: all take half a MB."""
        views = self._views
        if count > len(views):
            views += [self._view[12 * i : 12 * i + 12] for i in range(len(views), count)]
        return views[:count]

    def salt(self, salt: bytes) -> None:
        """Use this salt from now on. Runs mostly come under the same key, one after another."""
        if salt != self._salt:
            self._salt = salt
            np.ndarray((_MOST,), "V4", self._memory, 0, (12,))[:] = np.void(salt)


def seal_run(
    keys: Reservation, nonces: Nonces, source: SlotView, run: Run, target: SlotView, at: int
) -> Run:
    """Seal one run from ``source`` to offset ``at`` of ``target``; returns the sealed run.

    The packets carry their tail already (run.next is written into it here).
    """
    growth = len(keys.header) + TAG_BYTES
    size = run.size + growth
    if run.packets < _VECTOR_FROM:
        _seal_each(keys, source, run, target, at)
    else:
        _seal_all(keys, nonces, source, run, target, at)
    return Run(run.tunnel, 0, run.packets, size, run.last + growth, at)


def _seal_all(
    keys: Reservation,
    nonces: Nonces,
    source: SlotView,
    run: Run,
    target: SlotView,
    at: int,
) -> None:
    head, count = len(keys.header), run.packets
    size = run.size + head + TAG_BYTES
    numbers = _COUNT[:count] + np.uint64(keys.first_number)
    nonces.salt(keys.salt)
    nonces.numbers[:count] = numbers
    target.column(f"V{head}", at, size, count)[:] = np.void(keys.header)
    target.column(">u8", at + 8, size, count)[:] = numbers
    target.column(">u4", at + 4, size, count)[:] = numbers
    bound = keys.layout.associated_data_of_all(target.packets(at, size, count, 0, head))
    texts = source.packets(run.offset, run.size, count, 0, run.size)
    outs = target.packets(at, size, count, head, size)
    if run.last != run.size:
        i = run.offset + (count - 1) * run.size
        o = at + (count - 1) * size
        texts = [*texts[:-1], source.memory[i : i + run.last]]
        outs = [*outs[:-1], target.memory[o + head : o + head + run.last + TAG_BYTES]]
    if run.next:
        texts = [memoryview(_tailed(text, run.next)) for text in texts]
    deque(map(keys.aead.encrypt_into, nonces.first(count), texts, bound, outs), maxlen=0)


def _seal_each(keys: Reservation, source: SlotView, run: Run, target: SlotView, at: int) -> None:
    """A few packets: arrays would cost more than they spare."""
    own, memory = bytearray(keys.header), target.memory
    head, growth = len(own), len(own) + TAG_BYTES
    for i in range(run.packets):
        number = keys.first_number + i
        _NUMBERS.pack_into(own, 4, number & 0xFFFF_FFFF, number)
        start = run.offset + i * run.size
        stop = run.end if i == run.packets - 1 else start + run.size
        text = source.memory[start:stop]
        o = at + i * (run.size + growth)
        memory[o : o + head] = own
        bound = keys.layout.associated_data(own)
        keys.aead.encrypt_into(
            _NONCE.pack(keys.salt, number),
            _tailed(text, run.next) if run.next else text,
            bound,
            memory[o + head : o + stop - start + growth],
        )


def _tailed(text: memoryview, next_: int) -> bytes:
    """The packet with ``next_`` in its tail; the slot it lies in is not ours to write."""
    return bytes(text[:-TAIL_BYTES]) + bytes((0, next_))
