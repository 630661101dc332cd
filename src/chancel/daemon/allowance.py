"""How often somebody may do something: a token bucket."""

from __future__ import annotations


class Allowance:
    """Fills with ``rate`` tokens a second up to ``burst``, and is full at first."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Take a token at monotonic time ``now``; False when there is none."""
        self._tokens = min(self._burst, self._tokens + self._rate * max(0.0, now - self._at))
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
