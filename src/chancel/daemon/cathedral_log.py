"""What the keeper says about cathedrals in the log: one constant sentence for each event."""

from __future__ import annotations

import logging

from chancel.daemon.logs import RateLimit
from chancel.protocol import registration_events as events
from chancel.protocol.registration_events import RegistrationEvent
from chancel.wire.drop import Drop
from chancel.wire.types import Address

log = logging.getLogger("chancel.daemon")

TOLD_INTERVAL_S = 60.0
"""What can repeat itself is told at most once in this time for each tunnel."""

_limited = RateLimit(TOLD_INTERVAL_S)

_REFUSALS = {
    Drop.AMBRY_BAD_TAG: "it was made for another kek",
    Drop.AMBRY_EXPIRED: "its bundle has expired",
    Drop.AMBRY_TUNNEL: "it is for another tunnel",
    Drop.AMBRY_REPEATED: "it was replaced before",
}


def tell(instance: str, event: RegistrationEvent, now: float) -> None:
    """Log one event of a tunnel's registration, at monotonic time ``now``."""
    match event:
        case events.CathedralAnswers(address):
            log.info("cathedral answers tunnel=%s cathedral=%s", instance, address)
        case events.CathedralSilent(address, silent_s, next_):
            log.warning(
                "cathedral is silent tunnel=%s cathedral=%s silent_s=%d next=%s",
                instance,
                address,
                silent_s,
                next_ or "none",
            )
        case events.CathedralClockSkew(seconds, refused):
            if refused:
                sentence = "cathedral's clock differs too much tunnel=%s ours=%s by_s=%d"
                side = "behind" if seconds > 0 else "ahead"
                _warn(instance, "clock", now, sentence, side, abs(seconds))
        case events.KeyUnavailable(key, problem):
            _warn(instance, key, now, "key unavailable tunnel=%s key=%s problem=%s", key, problem)
        case events.AmbryAdopted(generation):
            log.info("ambry adopted tunnel=%s generation=%08x", instance, generation)
        case events.AmbryRefused(generation, reason):
            sentence = "ambry refused tunnel=%s generation=%08x reason=%s"
            _warn(instance, reason, now, sentence, generation, _REFUSALS.get(reason, reason))
        case events.AmbryNotKept(generation, problem):
            sentence = "ambry can't be kept tunnel=%s generation=%08x problem=%s"
            _warn(instance, "ambry", now, sentence, generation, problem)


def path(instance: str, address: Address | None, *, direct: bool) -> None:
    """The peer is reached in another way."""
    how = "directly" if direct else "relayed"
    log.info("peer reached %s tunnel=%s address=%s", how, instance, address or "unknown")


def remembrance_not_kept(instance: str, error: OSError, now: float) -> None:
    """The file could not be replaced; it is what it was."""
    sentence = "remembrance can't be kept tunnel=%s problem=%s"
    _warn(instance, "remembrance", now, sentence, error.strerror or error)


def _warn(instance: str, key: str, now: float, sentence: str, *fields: object) -> None:
    _limited.log(log, logging.WARNING, (instance, key), now, sentence, instance, *fields)
