"""Comparing clocks: the peer's wall clock with ours, ours with the monotonic one.

Offers carry whole seconds and a clock ticks between two packets, so a difference of one second
means nothing. A recorded offer that comes late looks like a peer whose clock is behind: so what a
refused offer says is believed only while no good one has come for a while.
"""

from __future__ import annotations

import math

from chancel.protocol.events import ClockSkew

_NOISE_S = 1.0


class PeerClock:
    """How far the peer's wall clock is from ours.

    Offers are in time that are early or late by ``validity_s`` whole seconds at most. One that
    isn't is believed once no good one has come for ``trust_s``.
    """

    def __init__(self, validity_s: int, trust_s: float) -> None:
        self.skew_s: float | None = None
        """The peer's clock minus ours in seconds: positive means that ours is behind."""
        self._validity_s = validity_s
        self._trust_s = trust_s
        self._told = ClockSkew(0.0, refused=False)
        self._good_at = -math.inf

    def compare(self, timestamp: int, now: float, wall: float) -> tuple[bool, ClockSkew | None]:
        """Judge an authentic offer's timestamp: (whether it is in time, what to tell or None)."""
        skew_s = float(timestamp - int(wall))
        in_time = abs(skew_s) <= self._validity_s
        if in_time:
            self._good_at = now
        elif now < self._good_at + self._trust_s:
            return False, None
        self.skew_s = skew_s
        told = self._told
        if told.refused is not in_time and abs(skew_s - told.seconds) <= _NOISE_S:
            return in_time, None
        self._told = ClockSkew(skew_s, refused=not in_time)
        return in_time, self._told


class JumpDetector:
    """Notices when the wall clock runs ahead of the monotonic one (protocol section 7.5)."""

    def __init__(self, now: float, wall: float) -> None:
        self._offset = wall - now

    def advance(self, now: float, wall: float) -> float:
        """By how many seconds the wall clock has outrun the other since the last call."""
        offset = wall - now
        jump_s = offset - self._offset
        self._offset = offset
        return jump_s
