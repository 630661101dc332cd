"""What chapel says about an exchange in the log: one constant sentence for each event."""

from __future__ import annotations

import logging

from chancel.protocol import events
from chancel.protocol.events import Event

log = logging.getLogger("chancel.daemon")

CLOCKS_DIFFER_S = 2.0
"""A difference of clocks that people should hear of; from 10 s on offers are refused."""


def tell(instance: str, event: Event) -> None:  # noqa: PLR0912 - a case for each event
    """Log one event of a tunnel's exchange."""
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
            _tell_skew(instance, seconds, refused=refused)
        case events.SecretUnavailable(problem):
            log.error("shared secret unavailable tunnel=%s problem=%s", instance, problem)
        case events.PathChanged(address):
            log.info("peer address tunnel=%s new=%s", instance, address or "unknown")
        case _:
            log.info("exchange event tunnel=%s event=%s", instance, event)


def _tell_skew(instance: str, seconds: float, *, refused: bool) -> None:
    side = "behind" if seconds > 0 else "ahead"
    if refused:
        log.warning(
            "clocks differ too much, offers are refused tunnel=%s ours=%s by_s=%d",
            instance,
            side,
            abs(seconds),
        )
    elif abs(seconds) > CLOCKS_DIFFER_S:
        log.warning("clocks differ tunnel=%s ours=%s by_s=%d", instance, side, abs(seconds))
