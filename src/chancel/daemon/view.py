"""One tunnel as all the boards of its group show it at one time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from chancel.daemon.board import BoardReader, Entry
from chancel.daemon.records import (
    BlessRecord,
    ConfessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    PurgatoryRecord,
    Record,
)

R = TypeVar("R", bound=Record)

Counters = tuple[int, int, int, int]
"""Inner packets and bytes sent, and received."""


class View(NamedTuple):
    """The records of all boards, empty ones where nothing was written, and the entries behind."""

    heaven_rx: HeavenRxRecord
    bless: BlessRecord
    purgatory_tx: PurgatoryRecord
    purgatory_rx: PurgatoryRecord
    confess: ConfessRecord
    heaven_tx: HeavenTxRecord
    keeper: KeeperRecord
    entries: dict[str, Entry[Any]]

    def drops(self) -> dict[str, int]:
        """Drops of all processes, by reason."""
        total: Counter[str] = Counter()
        for entry in self.entries.values():
            total.update({str(reason): count for reason, count in entry.drops.items()})
        return dict(total)

    def counters(self) -> Counters:
        """What rates are made of."""
        sent, received = self.heaven_rx, self.heaven_tx
        return sent.packets, sent.octets, received.packets, received.octets


def look(boards: Mapping[str, BoardReader[Any]], tunnel: int) -> View:
    """Read the boards for one tunnel."""
    read = {board: reader.read(tunnel) for board, reader in boards.items()}
    entries = {board: entry for board, entry in read.items() if entry is not None}
    return View(
        _record(entries.get("heaven-rx"), HeavenRxRecord),
        _record(entries.get("bless"), BlessRecord),
        _record(entries.get("purgatory-tx"), PurgatoryRecord),
        _record(entries.get("purgatory-rx"), PurgatoryRecord),
        _record(entries.get("confess"), ConfessRecord),
        _record(entries.get("heaven-tx"), HeavenTxRecord),
        _record(entries.get("keeper"), KeeperRecord),
        entries,
    )


def _record(entry: Entry[Any] | None, kind: type[R]) -> R:
    return entry.record if entry else kind()
