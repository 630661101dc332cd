"""What a cathedral writes into the log: what happened, within bounds, and counters for the curious.

Who may register decides how much happens, so each kind of event has an allowance: a burst is
written line by line, a storm as a sample, with the number of lines left out.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from chancel.daemon.allowance import Allowance
from chancel.daemon.logs import RateLimit
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.events import CathedralEvent, KeysUnavailable
from chancel.protocol.cathedral.statistics import Statistics
from chancel.protocol.events import SecretUnavailable

LINES_PER_S, LINES_BURST = 0.1, 30.0
"""Lines for each kind of event: six a minute, once a burst is written."""

PROBLEM_INTERVAL_S = 60.0
"""A client without usable keys is written down once in this time."""

COUNTERS_INTERVAL_S = 5.0
"""As the reference; only where debugging is on."""

log = logging.getLogger("chancel.daemon")


class Journal:
    """Writes the events of one brain."""

    def __init__(self, now: float) -> None:
        self._allowances: dict[str, Allowance] = {}
        self._left_out: Counter[str] = Counter()
        self._problems = RateLimit(PROBLEM_INTERVAL_S)
        is_on = log.isEnabledFor(logging.DEBUG)
        self._counters_at = now + COUNTERS_INTERVAL_S if is_on else math.inf

    def wake_at(self) -> float:
        """When counters are due; infinity for never."""
        return self._counters_at

    def take(self, brain: Cathedral, now: float) -> None:
        """Write down what has happened since the last time."""
        while (event := brain.next_event()) is not None:
            match event:
                case KeysUnavailable():
                    key = (event.flock, event.identity)
                    self._problem(key, event.problem, now)
                case SecretUnavailable():
                    self._problem(None, event.problem, now)
                case _:
                    self._write(event, now)
        if now >= self._counters_at:
            self._counters_at = now + COUNTERS_INTERVAL_S
            write_counters(brain.statistics())

    def gso_broken(self, error: OSError) -> None:
        """The kernel can't send trains after all."""
        log.warning("trains are sent one by one reason=%s", error.strerror)

    def _problem(self, key: object, problem: str, now: float) -> None:
        self._problems.log(log, logging.ERROR, key, now, "a key can't be used: %s", problem)

    def _write(self, event: CathedralEvent, now: float) -> None:
        kind = type(event).__name__
        allowance = self._allowances.get(kind)
        if allowance is None:
            allowance = self._allowances[kind] = Allowance(LINES_PER_S, LINES_BURST)
        if not allowance.take(now):
            self._left_out[kind] += 1
            return
        fields = " ".join(
            f"{field.name}={_FORMATS[field.name](getattr(event, field.name))}"
            for field in dataclasses.fields(event)
        )
        suppressed = self._left_out.pop(kind, 0)
        more = f" suppressed={suppressed}" if suppressed else ""
        log.info("%s %s%s", _SENTENCES[kind], fields, more)


def write_counters(found: Statistics) -> None:
    """The four lines of the reference (cathedral section 4.8)."""
    log.debug("peer-stat local=%d federated=%d", found.tunnels_local, found.tunnels_federated)
    log.debug(
        "liturgy-stat local=%d federated=%d", found.liturgies_local, found.liturgies_federated
    )
    log.debug(
        "traffic-stat in=%d out=%d fwd=%d",
        found.traffic_in,
        found.traffic_out,
        found.traffic_octets,
    )
    log.debug(
        "offer-stat in=%d out=%d fwd=%d", found.offers_in, found.offers_out, found.offers_octets
    )


_SENTENCES = {
    "TunnelRegistered": "tunnel registered",
    "TunnelRestarted": "tunnel restarted",
    "TunnelEnded": "tunnel ended",
    "LiturgyRegistered": "liturgy registered",
    "LiturgyEnded": "liturgy ended",
}


_FORMATS: dict[str, Callable[[Any], str]] = {
    "flocks": lambda flocks: f"{flocks.own:x}-{flocks.peer:x}",
    "flock": "{:x}".format,
    "tunnel": "{:04x}".format,
    "identity": "{:x}".format,
    "device": "{:02x}".format,
    "address": str,
    "federated": lambda is_so: "yes" if is_so else "no",
    "reason": lambda reason: str(reason).replace(" ", "-"),
}
"""Of the fields of events."""
