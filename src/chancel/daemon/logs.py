"""Log lines, in the form that users of the sanctum daemon know, and where they go.

``YYYY-MM-DD HH:MM:SS.mmm UTC [duty]: sentence field=value ...`` on standard output; where that is
systemd's journal, which has a clock of its own, ``<severity>[duty]: sentence ...``. In the
background to syslog. Sentences are constant; what varies stands in the fields. Nothing that a
stranger can cause is logged without a limit on its rate.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Hashable
from pathlib import Path

from chancel.daemon import syslog
from chancel.daemon.syslog import SEVERITIES, Syslog, SyslogHandler
from chancel.daemon.topology import GUARDIAN

LOGGER = "chancel"

DEBUG = "CHANCEL_DEBUG"
"""In the environment of whoever wants to read more than what changes: a cathedral's counters."""

_STDOUT = 1

_syslog: Syslog | None = None


def to_syslog(path: Path = syslog.PATH) -> Syslog:
    """Log to syslog, in all processes that set up their log from now on."""
    global _syslog  # noqa: PLW0603 - as the handlers of the standard library, one for the process
    _syslog = Syslog(path)
    return _syslog


def connection() -> Syslog | None:
    """The connection to syslog, if that is where the log goes."""
    return _syslog


def descriptors() -> frozenset[int]:
    """What a process must keep, besides the standard descriptors, to be able to log."""
    return frozenset() if _syslog is None else frozenset({_syslog.fileno()})


def setup(duty: str) -> None:
    """Log as ``duty`` from now on."""
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [_handler()]
    logger.setLevel(logging.DEBUG if os.environ.get(DEBUG) else logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False  # a reader of our output that is gone is no reason to end
    rename(duty)


def rename(duty: str) -> None:
    """Log as ``duty`` in a process forked from one that had set up its log.

    The handler stays: making another would copy a hundred pages that all processes share.
    """
    for handler in logging.getLogger(LOGGER).handlers:
        if isinstance(handler, SyslogHandler):
            handler.identity = "chancel" if duty == GUARDIAN else f"chancel-{duty}"
            handler.is_patient = duty == GUARDIAN
        elif isinstance(handler.formatter, _Line):
            handler.formatter.duty = duty


def _handler() -> logging.Handler:
    if _syslog is not None:
        return SyslogHandler(_syslog)
    handler = _Output()
    handler.setFormatter(_JournalLine() if _is_journal() else _Line())
    return handler


class _Output(logging.Handler):
    """Standard output, a line at a time.

    Nothing is kept: a line that finds no room is lost, not an error of the next flush, nor a line
    that each process forked from here would write again.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(_STDOUT, f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except OSError:
            self.handleError(record)


def _is_journal() -> bool:
    """Whether standard output is the stream that systemd means (systemd.exec(5))."""
    try:
        output = os.fstat(_STDOUT)
    except OSError:  # started without one
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{output.st_dev}:{output.st_ino}"


class _Line(logging.Formatter):
    """With a date of our own, in UTC; strftime would look at the time zone's file each time."""

    duty = GUARDIAN

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        year, month, day, hour, minute, second, *_ = time.gmtime(record.created)
        date, clock = f"{year}-{month:02}-{day:02}", f"{hour:02}:{minute:02}:{second:02}"
        return f"{date} {clock}.{int(record.msecs):03} UTC [{self.duty}]: {record.message}"


class _JournalLine(_Line):
    """With the prefix that the journal turns into a priority (sd-daemon(3))."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return f"<{SEVERITIES[record.levelno]}>[{self.duty}]: {record.message}"


class RateLimit:
    """At most one line per key and interval; the next one says how many were left out.

    Keys are reasons and tunnels, never something a stranger chooses: they are kept for ever.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._seen: dict[Hashable, tuple[float, int]] = {}

    def log(
        self,
        logger: logging.Logger,
        level: int,
        key: Hashable,
        now: float,
        sentence: str,
        *fields: object,
    ) -> None:
        """Log, or count what was suppressed. ``now`` is in monotonic seconds."""
        suppressed = self.admit(key, now)
        if suppressed is None:
            return
        if suppressed:
            sentence += " suppressed=%d"
            fields = (*fields, suppressed)
        logger.log(level, sentence, *fields)

    def admit(self, key: Hashable, now: float) -> int | None:
        """How many lines were suppressed since the last; ``None``: this one shall be, too."""
        last, suppressed = self._seen.get(key, (float("-inf"), 0))
        if now - last < self._interval_s:
            self._seen[key] = (last, suppressed + 1)
            return None
        self._seen[key] = (now, 0)
        return suppressed
