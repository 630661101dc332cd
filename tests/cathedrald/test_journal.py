"""The log of a cathedral is bounded, whatever happens, and says the reference's counters."""

from __future__ import annotations

import logging
import math
from collections import deque

import pytest

from chancel.cathedrald.journal import COUNTERS_INTERVAL_S, LINES_BURST, LINES_PER_S, Journal
from chancel.daemon import logs
from chancel.protocol.cathedral.events import (
    CathedralEvent,
    Ending,
    KeysUnavailable,
    LiturgyRegistered,
    TunnelEnded,
    TunnelRegistered,
)
from chancel.protocol.cathedral.statistics import Statistics
from chancel.protocol.events import SecretUnavailable
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.types import Address, FlockId, Flocks

FLOCKS = Flocks(FlockId(0xCAFEBA01), FlockId(0xCAFEBA01))
COMING = TunnelRegistered(
    FLOCKS, TunnelId(0x0102), CathedralId(0xBAD), Address("192.0.2.1", 5), federated=False
)


class Brain:
    """Whatever happens is said before."""

    def __init__(self, *events: CathedralEvent) -> None:
        self.events = deque(events)

    def next_event(self) -> CathedralEvent | None:
        return self.events.popleft() if self.events else None

    def statistics(self) -> Statistics:
        return Statistics(*range(1, 11))


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Of informing lines, too."""
    caplog.set_level(logging.INFO, logs.LOGGER)
    return caplog


def take(journal: Journal, now: float, *events: CathedralEvent) -> None:
    journal.take(Brain(*events), now)  # type: ignore[arg-type]


def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(0.0)
    take(
        journal,
        0.0,
        COMING,
        TunnelEnded(FLOCKS, TunnelId(0x0102), Ending.NOT_ALLOWED),
        LiturgyRegistered(FlockId(0xCAFEBA01), 7, Address("192.0.2.2", 6), federated=True),
        KeysUnavailable(FlockId(0xCAFEBA00), CathedralId(0xBAD), "x.key: is short"),
        SecretUnavailable("sync: is gone"),
    )
    assert caplog.messages == [
        "tunnel registered flocks=cafeba01-cafeba01 tunnel=0102 identity=bad address=192.0.2.1:5"
        " federated=no",
        "tunnel ended flocks=cafeba01-cafeba01 tunnel=0102 reason=not-allowed",
        "liturgy registered flock=cafeba01 device=07 address=192.0.2.2:6 federated=yes",
        "a key can't be used: x.key: is short",
        "a key can't be used: sync: is gone",
    ]


def test_a_storm_is_a_sample_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(0.0)
    take(journal, 0.0, *[COMING] * 10_000)
    assert len(caplog.messages) == LINES_BURST
    take(journal, 1 / LINES_PER_S, COMING)
    assert caplog.messages[-1].endswith(f" suppressed={10_000 - LINES_BURST:.0f}")
    take(journal, 2 / LINES_PER_S, COMING)
    assert "suppressed" not in caplog.messages[-1]


def test_a_storm_that_lasts_is_a_few_lines_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(0.0)
    take(journal, 0.0, *[COMING] * 1000)
    caplog.clear()
    for tenth in range(600):
        take(journal, tenth / 10, *[COMING] * 100)
    assert len(caplog.messages) <= 60 * LINES_PER_S


def test_a_problem_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(0.0)
    for second in range(60):
        take(journal, second, KeysUnavailable(FLOCKS.own, CathedralId(1), "x: is short"))
        take(journal, second, KeysUnavailable(FLOCKS.own, CathedralId(2), "y: is short"))
    assert len(caplog.messages) == 2
    take(journal, 61.0, KeysUnavailable(FLOCKS.own, CathedralId(1), "x: is short"))
    assert caplog.messages[-1] == "a key can't be used: x: is short suppressed=59"


def test_counters_are_for_the_curious(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(0.0)
    assert journal.wake_at() == math.inf
    take(journal, 100.0)
    caplog.set_level(logging.DEBUG, "chancel")
    journal = Journal(0.0)
    assert journal.wake_at() == COUNTERS_INTERVAL_S
    take(journal, COUNTERS_INTERVAL_S - 0.1)
    assert caplog.messages == []
    take(journal, COUNTERS_INTERVAL_S)
    assert caplog.messages == [
        "peer-stat local=1 federated=2",
        "liturgy-stat local=3 federated=4",
        "traffic-stat in=5 out=6 fwd=7",
        "offer-stat in=8 out=9 fwd=10",
    ]
    assert journal.wake_at() == 2 * COUNTERS_INTERVAL_S


def test_who_is_curious_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger(logs.LOGGER)
    for value, level in (("1", logging.DEBUG), ("", logging.INFO)):
        monkeypatch.setenv(logs.DEBUG, value)
        logs.setup("cathedral")
        assert logger.level == level
