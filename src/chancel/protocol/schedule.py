"""When the next exchange starts, and why (protocol section 7.4)."""

from __future__ import annotations

import math

from chancel.protocol.behaviour import Behaviour
from chancel.protocol.events import Reason
from chancel.protocol.liveness import Liveness
from chancel.protocol.profile import Profile


class Schedule:
    """Reasons of the exchange itself (a failed one, a re-sync) on top of those of the keys."""

    def __init__(self, live: Liveness, profile: Profile, behaviour: Behaviour) -> None:
        self._live = live
        self._profile = profile
        self._behaviour = behaviour
        self._failures = 0
        self._paused_until = -math.inf
        self._resync_at = math.inf
        self._unfinished = False
        self._replaced = False

    def start_at(self) -> float:
        """When the next exchange is due, if none is running: the past means at once."""
        return max(self._next()[0], self._paused_until)

    def take(self, now: float) -> Reason | None:
        """The reason to start an exchange now, or ``None``: too early, or a pause begins."""
        if now < self.start_at():
            return None
        _, reason = self._next()
        failed = self._failures >= self._profile.failures_before_pause
        if failed and self._behaviour.pause_after_failures:
            self._failures = 0
            if not (self._behaviour.pause_only_when_silent and self._live.evident(now)):
                self._paused_until = now + self._profile.pause_s
                return None
        self._resync_at = math.inf
        return reason

    def succeeded(self) -> None:
        """An exchange brought a sending key."""
        self._failures = 0
        self._unfinished = False
        self._replaced = False

    def expired(self, only_receive_key: bool) -> None:
        """An exchange expired; ``only_receive_key``: with a receive key and no sending key."""
        self._failures += 1
        if self._behaviour.retry_unfinished:
            self._unfinished |= only_receive_key

    def ended(self) -> None:
        """Any end of an exchange ends a pause, too, and settles what another was wanted for."""
        self._paused_until = -math.inf
        self._resync_at = math.inf

    def resync(self, now: float) -> None:
        """The peer answers an exchange that we gave up: another must start, and none before it."""
        self._resync_at = now + self._behaviour.resync_delay_s

    def secret_replaced(self) -> None:
        """Keys are wanted under another secret, whatever those in use are good for."""
        self._failures = 0
        self._replaced = True
        self._paused_until = -math.inf

    def erased(self) -> None:
        """All keys are erased."""
        self._unfinished = False
        self._replaced = False
        self._paused_until = -math.inf

    def _next(self) -> tuple[float, Reason]:
        if self._resync_at < math.inf:
            return self._resync_at, Reason.RESYNC
        if self._replaced:
            return -math.inf, Reason.AMBRY
        if self._unfinished and self._live.has_key:
            return -math.inf, Reason.UNFINISHED
        return self._live.rekey_at()
