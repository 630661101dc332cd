"""What the keeper says about cathedrals in the log: one constant sentence for each event.

With every cathedral dead, or a peer whose path comes and goes, events never end. So what repeats
itself is told seldom, and changes are told one by one only as long as they are few.
"""

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

SILENCE_INTERVAL_S = 3600.0
"""The same for the silence of one cathedral after another, when the first was told."""

CHANGES_AT_ONCE = 10
"""Changes that are told at once; after them one for each ``TOLD_INTERVAL_S``."""

_REFUSALS = {
    Drop.AMBRY_BAD_TAG: "it was made for another kek",
    Drop.AMBRY_EXPIRED: "its bundle has expired",
    Drop.AMBRY_TUNNEL: "it is for another tunnel",
    Drop.AMBRY_REPEATED: "it was replaced before",
}


class CathedralLog:
    """The log of one tunnel's registration. Times are those of the monotonic clock."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._limited = RateLimit(TOLD_INTERVAL_S)
        self._silence_at = 0.0
        """From when on silence is told again."""
        self._told_until = 0.0
        self._untold = 0
        self._way: tuple[bool, object] | None = None

    def tell(self, event: RegistrationEvent, now: float) -> None:
        """Log one event."""
        match event:
            case events.CathedralAnswers(address):
                self._silence_at = now
                self._change(logging.INFO, now, "cathedral answers tunnel=%s cathedral=%s", address)
            case events.CathedralSilent(address, silent_s, next_):
                if now >= self._silence_at:
                    self._silence_at = now + SILENCE_INTERVAL_S
                    sentence = "cathedral is silent tunnel=%s cathedral=%s silent_s=%d next=%s"
                    fields = address, silent_s, next_ or "none"
                    self._change(logging.WARNING, now, sentence, *fields)
            case events.CathedralInVain(address, next_):
                sentence = "cathedral promises the peer in vain tunnel=%s cathedral=%s next=%s"
                self._warn("in vain", now, sentence, address, next_)
            case events.CathedralClockSkew(seconds, refused):
                if refused:
                    sentence = "cathedral's clock differs too much tunnel=%s ours=%s by_s=%d"
                    side = "behind" if seconds > 0 else "ahead"
                    self._warn("clock", now, sentence, side, abs(seconds))
            case events.KeyUnavailable(key, problem):
                self._warn(key, now, "key unavailable tunnel=%s key=%s problem=%s", key, problem)
            case events.AmbryAdopted(generation):
                sentence = "ambry adopted tunnel=%s generation=%08x"
                self._change(logging.INFO, now, sentence, generation)
            case events.AmbryRefused(generation, reason):
                sentence = "ambry refused tunnel=%s generation=%08x reason=%s"
                self._warn(reason, now, sentence, generation, _REFUSALS.get(reason, reason))
            case events.AmbryNotKept(generation, problem):
                sentence = "ambry can't be kept tunnel=%s generation=%08x problem=%s"
                self._change(logging.WARNING, now, sentence, generation, problem)

    def path(self, address: Address | None, now: float, *, direct: bool) -> None:
        """The peer is reached at this address, its own or a cathedral's. Which cathedral it is
        makes no difference: what happens to those is told anyway.
        """
        way = direct, address if direct else address is not None
        if way == self._way:
            return
        self._way = way
        if address is None:
            return  # no cathedral has an address yet, which is told where names are looked up
        how = "directly" if direct else "relayed"
        self._change(logging.INFO, now, f"peer reached {how} tunnel=%s address=%s", address)

    def remembrance_not_kept(self, error: OSError, now: float) -> None:
        """The file could not be replaced; it is what it was."""
        sentence = "remembrance can't be kept tunnel=%s problem=%s"
        self._warn("remembrance", now, sentence, error.strerror or error)

    def _change(self, level: int, now: float, sentence: str, *fields: object) -> None:
        """Log what is no repetition, or count that it was too much."""
        if self._told_until > now + (CHANGES_AT_ONCE - 1) * TOLD_INTERVAL_S:
            self._untold += 1
            return
        self._told_until = max(self._told_until, now) + TOLD_INTERVAL_S
        if self._untold:
            sentence, fields = sentence + " suppressed=%d", (*fields, self._untold)
            self._untold = 0
        log.log(level, sentence, self._instance, *fields)

    def _warn(self, key: str, now: float, sentence: str, *fields: object) -> None:
        self._limited.log(log, logging.WARNING, key, now, sentence, self._instance, *fields)
