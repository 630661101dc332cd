"""The form of a line, and the limit on lines that strangers can cause."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

import pytest

from chancel.daemon import logs


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger(logs.LOGGER)
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    yield logging.getLogger(f"{logs.LOGGER}.daemon")
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


def test_a_line(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("bless")
    log.info("tunnel added tunnel=%s", "dm1")
    line = capfd.readouterr().out
    expected = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[bless\]: tunnel added tunnel=dm1\n"
    assert re.fullmatch(expected, line)


def test_the_journal_needs_no_date(
    log: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = os.fstat(1)
    monkeypatch.setenv("JOURNAL_STREAM", f"{output.st_dev}:{output.st_ino}")
    logs.setup("bless")
    log.info("tunnel added tunnel=%s", "dm1")
    log.error("failed")
    assert capfd.readouterr().out == "<6>[bless]: tunnel added tunnel=dm1\n<3>[bless]: failed\n"
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")  # somebody else's, inherited
    logs.setup("bless")
    log.info("ready")
    assert capfd.readouterr().out.endswith(" UTC [bless]: ready\n")


def test_one_line_for_each_key_and_interval(
    log: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.setup("control")
    limit = logs.RateLimit(60.0)
    for now in (0.0, 1.0, 59.9):
        limit.log(log, logging.INFO, "a", now, "refused uid=%d", 7)
    limit.log(log, logging.INFO, "b", 59.9, "another")
    limit.log(log, logging.INFO, "a", 60.0, "refused uid=%d", 8)
    limit.log(log, logging.INFO, "a", 200.0, "refused uid=%d", 9)
    lines = [line.partition("]: ")[2] for line in capfd.readouterr().out.splitlines()]
    assert lines == ["refused uid=7", "another", "refused uid=8 suppressed=2", "refused uid=9"]
