"""When books are written: not by all processes at once, and not by waking up for a heartbeat."""

from __future__ import annotations

import itertools
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chancel.daemon.board import BoardReader, BoardWriter, make_board
from chancel.daemon.loop import PAUSE_S, books_at
from chancel.daemon.process import Process
from chancel.daemon.publish import PUBLISH_INTERVAL_S, Publisher
from chancel.daemon.records import PurgatoryRecord
from chancel.wire.drop import Drop

PROCESSES = 12


class Owner:
    """A process of which a publisher is all, and who reads what it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pid: int = 1000) -> None:
        memory = make_board("test")
        self.reader = BoardReader(memory, PurgatoryRecord)
        self.record = PurgatoryRecord()
        self.drops: Counter[Drop] = Counter()
        loop = SimpleNamespace(wakeups=3)
        process: Any = SimpleNamespace(
            name="test", board=BoardWriter(memory), loop=loop, trace=None
        )
        monkeypatch.setattr("os.getpid", lambda: pid)
        self.publisher = Publisher(cast(Process, process))
        self.publisher.add(0, "test", lambda: (self.record, self.drops))

    def carry(self, now: float) -> float:
        """Carry a packet, and write the books when they are due; returns when that was."""
        at = books_at(self.publisher.books, now)
        self.publisher.later(0)
        self.publisher.flush(max(at, now))
        assert self.publisher.wake_at() is None, "they were written"
        return max(at, now)


def test_after_a_long_pause_they_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch)
    for at in (100.0, 115.0, 130.0):
        assert owner.carry(at) == at


def test_processes_that_carry_the_same_packets_write_at_different_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first packet comes after a pause; then one comes every 20 ms."""
    owners = [Owner(monkeypatch, pid) for pid in range(1000, 1000 + PROCESSES)]
    times: list[list[float]] = []
    for owner in owners:
        at = owner.carry(100.0)
        written = []
        while at < 110.0:
            at = owner.carry(at + 0.02 - (at - 100.0) % 0.02)
            written.append(at)
        times.append(written)
        steps = [later - earlier for earlier, later in itertools.pairwise(written)]
        assert all(PUBLISH_INTERVAL_S - 1e-6 <= step <= PUBLISH_INTERVAL_S + 0.03 for step in steps)
    phases = sorted(written[0] for written in times)
    gaps = [later - earlier for earlier, later in itertools.pairwise(phases)]
    assert min(gaps) > PUBLISH_INTERVAL_S / PROCESSES / 3


@pytest.mark.parametrize("pause_s", [PAUSE_S / 8, PAUSE_S / 2])
def test_after_a_short_pause_they_rest(pause_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(monkeypatch)
    owner.carry(100.0)
    second = owner.carry(101.0)
    assert 0 < second - 101.0 < PUBLISH_INTERVAL_S
    now = second + PUBLISH_INTERVAL_S + pause_s
    assert 0 < owner.carry(now) - now < PUBLISH_INTERVAL_S


def test_drops_are_packed_when_they_grow_and_kept_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = Owner(monkeypatch)
    owner.drops[Drop.BAD_TAG] += 2
    owner.carry(100.0)
    owner.record = PurgatoryRecord(5)
    owner.carry(115.0)
    assert owner.reader.read(0) == (owner.record, {Drop.BAD_TAG: 2}, 3, {Drop.BAD_TAG: 100.0})
    owner.drops[Drop.NO_KEY] += 1
    owner.carry(130.0)
    entry = owner.reader.read(0)
    assert entry is not None
    assert entry.drops == {Drop.BAD_TAG: 2, Drop.NO_KEY: 1}
    assert entry.dropped_at == {Drop.BAD_TAG: 100.0, Drop.NO_KEY: 130.0}
