"""The board: what must flow back against the lanes, one page per process.

Each process has one memory object that it alone writes; the readers named in ``topology`` map it
read-only. An entry per tunnel holds the owner's record (``records``), its drop counters and how
often the process woke up; its size and checksum stand in a head: a reader copies an entry and
believes it only when the checksum fits, so a copy torn by a concurrent write is noticed on any
processor, whatever its memory order, and read again.

All heads stand before the entries: who looks what has changed reads them alone, and no page of
tunnels that there aren't (half a MB for each board).
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

from chancel.daemon import linux
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.linux import SEAL_FUTURE_WRITE, SEAL_SIZE, seal
from chancel.daemon.records import Record, possible_time
from chancel.wire.drop import Drop

MAX_TUNNELS = 256
"""Tunnels one group can hold: 254 peers of a liturgy and room for two more."""

ENTRY_BYTES = 2048
HEAD_BYTES = 8
HEADS_BYTES = MAX_TUNNELS * HEAD_BYTES
BOARD_BYTES = HEADS_BYTES + MAX_TUNNELS * ENTRY_BYTES

_HEAD = struct.Struct("=II")
_DROPS = tuple(Drop)
_WAKEUPS = struct.Struct("=Q")
"""Behind the record."""
_COUNTERS = struct.Struct(f"={len(_DROPS)}Q{len(_DROPS)}d")
"""For each reason how often, and when last: the end of an entry."""
NO_DROPS = bytes(_COUNTERS.size)
_READ_TRIES = 1000
_READ_PAUSE_S = 0.001
_AT_ONCE = 16
"""Tries without a pause; then the owner has lost the processor within its write, and gets time."""

R = TypeVar("R", bound=Record)


def _entry_at(tunnel: int) -> int:
    return HEADS_BYTES + tunnel * ENTRY_BYTES


class Entry(NamedTuple, Generic[R]):
    """One tunnel's entry on one process's board.

    ``wakeups`` are those of the process since it started, whatever the tunnel. ``dropped_at`` has
    the monotonic second of the latest drop for each reason, to the interval of publishing.
    """

    record: R
    drops: dict[Drop, int]
    wakeups: int
    dropped_at: dict[Drop, float]


def make_board(name: str) -> int:
    """Make one process's board; returns the descriptor of its memory."""
    memory = os.memfd_create(f"board-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, BOARD_BYTES)
    seal(memory, SEAL_SIZE)
    return memory


def packed_drops(drops: Mapping[Drop, int], dropped_at: Mapping[Drop, float]) -> bytes:
    """How often packets were dropped, and when last in monotonic seconds, as an entry has it."""
    return _COUNTERS.pack(
        *[drops.get(reason, 0) for reason in _DROPS],
        *[dropped_at.get(reason, 0.0) for reason in _DROPS],
    )


def _counted(packed: bytes) -> tuple[dict[Drop, int], dict[Drop, float]]:
    """Inverse of :func:`packed_drops`. Raises :class:`NeighbourLied` for what can't be true."""
    if packed == NO_DROPS:
        return {}, {}
    values = _COUNTERS.unpack(packed)
    counts, times = values[: len(_DROPS)], values[len(_DROPS) :]
    if not all(map(possible_time, times)):
        raise NeighbourLied("a board tells of drops at impossible times")
    return (
        {reason: count for reason, count in zip(_DROPS, counts, strict=True) if count},
        {reason: at for reason, at in zip(_DROPS, times, strict=True) if at},
    )


class BoardWriter:
    """The owner's side. Made once, in the owner: from then on nobody else can map it writable."""

    def __init__(self, memory: int) -> None:
        self._map = linux.map_memory(memory, BOARD_BYTES, writable=True)
        seal(memory, SEAL_FUTURE_WRITE)

    def write(self, tunnel: int, record: Record, drops: bytes = NO_DROPS, wakeups: int = 0) -> None:
        """Publish a tunnel's entry; ``drops`` are its :func:`packed_drops`."""
        body = record.pack() + _WAKEUPS.pack(wakeups) + drops
        at = _entry_at(tunnel)
        self._map[at : at + len(body)] = body
        head = tunnel * HEAD_BYTES
        self._map[head : head + HEAD_BYTES] = _HEAD.pack(len(body), zlib.crc32(body))

    def clear(self, tunnel: int) -> None:
        """Withdraw a tunnel's entry."""
        head, at = tunnel * HEAD_BYTES, _entry_at(tunnel)
        self._map[head : head + HEAD_BYTES] = bytes(HEAD_BYTES)
        self._map[at : at + ENTRY_BYTES] = bytes(ENTRY_BYTES)


class BoardReader(Generic[R]):
    """A reader's side of one process's board."""

    def __init__(self, memory: int, record: type[R]) -> None:
        self._map = linux.map_memory(memory, BOARD_BYTES, writable=False)
        self._heads = self._map[:HEADS_BYTES]
        self._seen = bytes(HEADS_BYTES)
        self._record = record
        self._size = record.size() + _WAKEUPS.size + _COUNTERS.size

    def changed(self) -> list[int]:
        """The tunnels whose entries were written or withdrawn since this was asked last.

        One that is being written just now may be named twice, and is never left out: its owner
        rings afterwards.
        """
        heads, before = self._heads.tobytes(), self._seen
        if heads == before:
            return []
        self._seen = heads
        pairs = zip(_HEAD.iter_unpack(heads), _HEAD.iter_unpack(before), strict=True)
        return [tunnel for tunnel, (now, then) in enumerate(pairs) if now != then]

    def read(self, tunnel: int) -> Entry[R] | None:
        """Copy a tunnel's entry; ``None`` before its owner wrote the first one.

        Raises :class:`NeighbourLied` when no valid copy can be had, or what it says can't be true.
        """
        head, at = tunnel * HEAD_BYTES, _entry_at(tunnel)
        for attempt in range(_READ_TRIES):
            size, checksum = _HEAD.unpack_from(self._map, head)
            if size == 0:
                return None
            body = bytes(self._map[at : at + self._size])
            if size == self._size and zlib.crc32(body) == checksum:
                own = self._record.size()
                (wakeups,) = _WAKEUPS.unpack_from(body, own)
                drops, dropped_at = _counted(body[own + _WAKEUPS.size :])
                return Entry(self._record.unpack(body[:own]), drops, wakeups, dropped_at)
            time.sleep(0 if attempt < _AT_ONCE else _READ_PAUSE_S)
        raise NeighbourLied("an entry on a board never becomes whole")
