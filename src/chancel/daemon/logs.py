"""Log lines, in the form that users of the sanctum daemon know.

``YYYY-MM-DD HH:MM:SS.mmm UTC [duty]: sentence field=value ...`` on standard output. Sentences are
constant; what varies stands in the fields. Nothing that a stranger can cause is logged without a
limit on its rate.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Hashable

LOGGER = "chancel"


def setup(duty: str) -> None:
    """Log as ``duty`` from now on; called in each process, after the fork too."""
    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03d UTC [{duty}]: %(message)s", "%Y-%m-%d %H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False  # a reader of our output that is gone is no reason to end


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
        last, suppressed = self._seen.get(key, (float("-inf"), 0))
        if now - last < self._interval_s:
            self._seen[key] = (last, suppressed + 1)
            return
        self._seen[key] = (now, 0)
        if suppressed:
            sentence += " suppressed=%d"
            fields = (*fields, suppressed)
        logger.log(level, sentence, *fields)
