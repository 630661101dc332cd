"""Where the peer is: the source of its newest authentic packet (protocol section 10)."""

from __future__ import annotations

import math

from chancel.wire.types import Address


class Path:
    """The peer's address. A configured one is only the initial value; ``None`` is unknown."""

    def __init__(self, configured: Address | None) -> None:
        self.address = configured
        self._seen_at = -math.inf

    def __repr__(self) -> str:
        return f"<Path {self.address or 'unknown'}>"

    def observe(self, address: Address, at: float) -> bool:
        """Take the source of an authentic packet that came at ``at``; whether the address changed.

        Reports from different processes may cross: one about an older packet changes nothing.
        """
        if at < self._seen_at:
            return False
        self._seen_at = at
        changed = address != self.address
        self.address = address
        return changed

    def forget(self) -> None:
        """The peer is unresponsive and had no configured address: wait until it shows up."""
        self.address = None
