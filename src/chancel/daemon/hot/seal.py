"""Sealing runs: the second hot function (protocol section 3.2).

Headers and nonces are written as arrays; the cipher runs through ``map`` over views, so that Python
itself stays out of the loop.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.protocol.traffic import Reservation
from chancel.wire.traffic import HEADER_BYTES, TAG_BYTES, TAIL_BYTES, TrafficHeader

_GROWTH = HEADER_BYTES + TAG_BYTES
_MOST = 4096
"""Packets of one run that are sealed at once; a slot of the smallest packets has fewer."""


class Nonces:
    """Room for nonces and packet numbers of a run, with the views kept.

    A nonce is four bytes of salt and the packet number (big-endian, 64 bit).
    """

    def __init__(self) -> None:
        self._memory = bytearray(12 * _MOST)
        self.array: Bytes = np.frombuffer(self._memory, dtype=np.uint8).reshape(_MOST, 12)
        view = memoryview(self._memory)
        self.views = [view[i : i + 12] for i in range(0, 12 * _MOST, 12)]

    def numbers(self, salt: bytes, first: int, count: int) -> Bytes:
        """Nonces for ``count`` numbers from ``first``; returns the numbers' (count, 8) bytes."""
        used = self.array[:count]
        used[:, :4] = np.frombuffer(salt, dtype=np.uint8)
        used[:, 4:] = (
            np.arange(first, first + count, dtype=np.uint64).astype(">u8").view(np.uint8)
        ).reshape(count, 8)
        return used[:, 4:]


def seal_run(
    keys: Reservation, nonces: Nonces, source: SlotView, run: Run, target: SlotView, at: int
) -> Run:
    """Seal one run from ``source`` to offset ``at`` of ``target``; returns the sealed run.

    The packets carry their tail already (run.next is written into it here).
    """
    count, size = run.packets, run.size + _GROWTH
    numbers = nonces.numbers(keys.salt, keys.first_number, count)
    header = TrafficHeader(keys.spi, 0, keys.flocks.own, keys.flocks.peer).encode()
    rows = target.rows(at, size, count)
    rows[:, :HEADER_BYTES] = np.frombuffer(header, dtype=np.uint8)
    rows[:, 8:16] = numbers
    rows[:, 4:8] = numbers[:, 4:]
    headers = target.packets(at, size, count, 0, HEADER_BYTES)
    texts = source.packets(run.offset, run.size, count, 0, run.size)
    outs = target.packets(at, size, count, HEADER_BYTES, size)
    if run.last != run.size:
        i = run.offset + (count - 1) * run.size
        o = at + (count - 1) * size
        texts = [*texts[:-1], source.memory[i : i + run.last]]
        outs = [*outs[:-1], target.memory[o + HEADER_BYTES : o + run.last + _GROWTH]]
    if run.next:
        texts = [memoryview(bytes(text[:-TAIL_BYTES]) + bytes((0, run.next))) for text in texts]
    deque(map(keys.aead.encrypt_into, nonces.views[:count], texts, headers, outs), maxlen=0)
    return Run(run.tunnel, 0, count, size, run.last + _GROWTH, at)
