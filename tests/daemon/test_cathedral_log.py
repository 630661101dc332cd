"""What a person reads of a tunnel's cathedrals in the log, however long all is broken."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from chancel.daemon.cathedral_log import CHANGES_AT_ONCE, TOLD_INTERVAL_S, CathedralLog
from chancel.protocol.client import IN_VAIN_S
from chancel.protocol.registration_events import CathedralInVain, CathedralSilent
from tests.daemon.registered import End
from tests.protocol.registration_world import FIRST, NOW, PEER, SECOND, Cathedral


def lines(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [line for line in caplog.messages if words in line]


def test_with_every_cathedral_dead_it_is_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = Cathedral(FIRST, [FIRST, SECOND]), Cathedral(SECOND, [SECOND, FIRST])
    end = End(tmp_path, first, second, addresses=(FIRST, SECOND))
    end.run(60.0)
    first.dead = second.dead = True
    end.run(3000.0)
    silences = sum(isinstance(event, CathedralSilent) for event in end.events)
    assert silences > 20
    assert len(lines(caplog, "cathedral is silent")) == 1
    assert len(lines(caplog, "peer reached")) == 1
    end.run(3600.0)
    assert len(lines(caplog, "cathedral is silent")) == 2
    second.dead = False
    end.run(60.0)
    assert len(lines(caplog, "cathedral answers")) == 2


def test_silence_is_told_again_after_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = Cathedral(FIRST)
    end = End(tmp_path, first, remembrance=str(tmp_path / "remembrance"))
    for _ in range(2):
        first.dead = False
        end.run(60.0)
        first.dead = True
        end.run(60.0)
    assert len(lines(caplog, "cathedral is silent")) == 2
    assert len(lines(caplog, "cathedral answers")) == 2


def test_promises_in_vain_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two cathedrals that promise the peer in turn, and a path that never comes to be."""
    first, second = Cathedral(FIRST), Cathedral(SECOND)
    first.peer = second.peer = PEER
    end = End(tmp_path, first, second)
    end.run(8 * IN_VAIN_S)
    left = [event for event in end.events if isinstance(event, CathedralInVain)]
    told = lines(caplog, "promises the peer in vain")
    assert len(told) == len(left) >= 3
    assert (
        told[0] == f"cathedral promises the peer in vain tunnel=a cathedral={FIRST} next={SECOND}"
    )


def test_promises_in_vain_without_end_are_told_seldom(caplog: pytest.LogCaptureFixture) -> None:
    told = CathedralLog("a")
    for number in range(1000):
        told.tell(CathedralInVain(FIRST, SECOND), NOW + number)
    assert len(lines(caplog, "in vain")) == 1 + 999 // TOLD_INTERVAL_S
    assert "suppressed=59" in lines(caplog, "in vain")[-1]


def test_a_path_that_comes_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = CathedralLog("a")
    for number in range(1000):
        told.path(PEER, NOW + number, direct=True)
        told.path(FIRST, NOW + number, direct=False)
        told.path(SECOND, NOW + number, direct=False)
    told_lines = lines(caplog, "peer reached")
    assert len(told_lines) == CHANGES_AT_ONCE + 1000 // TOLD_INTERVAL_S
    assert f"address={SECOND}" not in caplog.text
    assert "suppressed=" in told_lines[-1]
    assert told_lines[:2] == [
        f"peer reached directly tunnel=a address={PEER}",
        f"peer reached relayed tunnel=a address={FIRST}",
    ]
