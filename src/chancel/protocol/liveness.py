"""What is known of the peer's life and of our receive key, and what is due because of it.

Fed by reports that may come late, twice, or about keys that were erased meanwhile (the daemon
receives in another process): a report about an erased key counts as one about no key.
"""

from __future__ import annotations

import math
from collections import deque

from chancel.protocol.behaviour import Behaviour
from chancel.protocol.events import Reason
from chancel.protocol.messages import ReceiveReport
from chancel.protocol.profile import Profile
from chancel.wire.types import Spi

_NOTHING = ReceiveReport()
_KEPT_SPIS = 16


class Liveness:
    """The newest report, read with what we know ourselves."""

    def __init__(self, profile: Profile, behaviour: Behaviour) -> None:
        self._profile = profile
        self._behaviour = behaviour
        self._report = _NOTHING
        self._alive_at = -math.inf
        self._offer_at = -math.inf
        self._erased_at = -math.inf
        self._dead_hold_until = -math.inf
        self._issued: deque[Spi] = deque(maxlen=_KEPT_SPIS)
        self._erased: frozenset[int] = frozenset()

    @property
    def has_key(self) -> bool:
        """Whether there is an active receive key."""
        return self._report.active_spi != 0

    @property
    def taken_spis(self) -> frozenset[int]:
        """SPIs of ours that a new exchange must not use."""
        return frozenset((*self._issued, *self._erased, self._report.active_spi))

    def is_taken(self, spi: Spi) -> bool:
        """Whether it is one of :attr:`taken_spis`."""
        return spi == self._report.active_spi or spi in self._issued or spi in self._erased

    def used(self, spi: Spi) -> bool:
        """Whether the active receive key has this SPI, and the peer has used it."""
        return self._report.active_spi == spi and self._report.packets > 0

    def evident(self, now: float) -> bool:
        """Whether anything authentic came lately, be it traffic or an offer."""
        return now < max(self._alive_at, self._offer_at) + self._profile.heartbeat_timeout_s

    def observe(self, report: ReceiveReport) -> bool:
        """Take a report; whether another receive key than before is in use by the peer."""
        if report.active_spi in self._erased:
            report = ReceiveReport(alive_at=report.alive_at)
        if report.alive_at is not None and report.alive_at > self._erased_at:
            self._alive_at = max(self._alive_at, report.alive_at)
        before = self._report
        self._report = report
        return report.packets > 0 and (before.active_spi, before.packets > 0) != (
            report.active_spi,
            True,
        )

    def heard_offer(self, now: float) -> None:
        """An authentic, new offer came."""
        self._offer_at = now

    def presume_alive(self, now: float) -> None:
        """We begin without keys: the peer's silence counts from here."""
        self._alive_at = now

    def issued(self, spi: Spi) -> None:
        """We used this SPI in an exchange."""
        self._issued.append(spi)

    def erased(self, now: float) -> None:
        """All keys are erased: whatever is still reported about them is history."""
        self._erased = self.taken_spis
        self._issued.clear()
        self._report = _NOTHING
        self._alive_at = -math.inf
        self._erased_at = now

    def hold(self, until: float) -> None:
        """Don't give the peer up before this time."""
        self._dead_hold_until = until

    def dead_at(self) -> float:
        """When the peer is given up; infinite without a receive key."""
        if not (self.has_key and self._behaviour.watch_peer):
            return math.inf
        return max(self._silent_since() + self._profile.dead_peer_s, self._dead_hold_until)

    def silent_s(self, now: float) -> float:
        """For how long nothing authentic was opened."""
        return now - self._silent_since()

    def rekey_at(self) -> tuple[float, Reason]:
        """When the next exchange must start, and why (protocol section 7.4)."""
        if not self.has_key:
            return -math.inf, Reason.NO_KEYS
        slack = self._behaviour.limit_slack
        if self._report.packets >= self._profile.rekey_packets + slack:
            return -math.inf, Reason.PACKETS
        old = (self._report.installed_at + self._profile.rekey_age_s + slack, Reason.AGE)
        if not self._behaviour.watch_peer:
            return old
        silent_at = self._silent_since() + self._profile.heartbeat_timeout_s
        return min((silent_at, Reason.HEARTBEAT_TIMEOUT), old)

    def _silent_since(self) -> float:
        return self._alive_at if self._alive_at > -math.inf else self._report.installed_at
