"""What chapel says about an exchange in the log: one constant sentence for each event."""

from __future__ import annotations

import logging

from chancel.daemon.logs import RateLimit
from chancel.protocol import events
from chancel.protocol.events import Event

log = logging.getLogger("chancel.daemon")

CLOCKS_DIFFER_S = 2.0
"""A difference of clocks that people should hear of; from 10 s on offers are refused."""

TOLD_INTERVAL_S = 60.0
"""What can repeat itself with every offer is told at most once in this time for each tunnel."""

_limited = RateLimit(TOLD_INTERVAL_S)


def tell(instance: str, event: Event, now: float) -> None:  # noqa: PLR0912 - one case an event
    """Log one event of a tunnel's exchange, at monotonic time ``now``."""
    match event:
        case events.ExchangeStarted(reason, spi):
            log.info("key exchange started tunnel=%s reason=%s spi=%08x", instance, reason, spi)
        case events.ExchangeEnded(outcome, spi):
            log.info("key exchange ended tunnel=%s outcome=%s spi=%08x", instance, outcome, spi)
        case events.ExchangePaused(seconds):
            log.warning(
                "peer might be down, waiting before the next exchange tunnel=%s wait_s=%d",
                instance,
                seconds,
            )
        case events.ReceiveKeyInstalled(spi):
            log.info("receive key installed tunnel=%s spi=%08x", instance, spi)
        case events.SendKeyInstalled(spi):
            log.info("send key installed tunnel=%s spi=%08x", instance, spi)
        case events.ReceiveKeyUsed(spi):
            log.info("receive key in use tunnel=%s spi=%08x", instance, spi)
        case events.PeerRestarted():
            log.info("peer restarted tunnel=%s", instance)
        case events.PeerUnresponsive(silent_s):
            log.warning(
                "peer is unresponsive, keys erased tunnel=%s silent_s=%d", instance, silent_s
            )
        case events.ClockJumped(seconds):
            log.warning("clock jumped, exchanging keys anew tunnel=%s by_s=%d", instance, seconds)
        case events.ClockSkew(seconds, refused):
            _tell_skew(instance, seconds, now, refused=refused)
        case events.SecretUnavailable(problem):
            _limited.log(
                log,
                logging.ERROR,
                (instance, "secret"),
                now,
                "shared secret unavailable tunnel=%s problem=%s",
                instance,
                problem,
            )
        case events.PathChanged(address):
            log.info("peer address tunnel=%s new=%s", instance, address or "unknown")
        case _:
            log.info("exchange event tunnel=%s event=%s", instance, event)


def _tell_skew(instance: str, seconds: float, now: float, *, refused: bool) -> None:
    """Offers that waited somewhere look like a clock that is off, so this is told seldom."""
    if not refused and abs(seconds) <= CLOCKS_DIFFER_S:
        return
    sentence = "clocks differ too much, offers are refused" if refused else "clocks differ"
    _limited.log(
        log,
        logging.WARNING,
        (instance, refused),
        now,
        sentence + " tunnel=%s ours=%s by_s=%d",
        instance,
        "behind" if seconds > 0 else "ahead",
        abs(seconds),
    )
