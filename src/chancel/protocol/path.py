"""Where the peer is: the source of its newest authentic packet (protocol section 10)."""

from __future__ import annotations

import math

from chancel.wire.types import Address


class Path:
    """The peer's address. A configured one is only the initial value; ``None`` is unknown."""

    def __init__(self, configured: Address | None) -> None:
        self.address = configured
        self._configured = configured
        self._told = configured
        self._seen_at = -math.inf

    def __repr__(self) -> str:
        return f"<Path {self.address or 'unknown'}>"

    def observe(self, address: Address, at: float) -> None:
        """Take the source of an authentic packet that came at ``at``.

        Reports from different processes may cross: one about an older packet changes nothing.
        """
        if at >= self._seen_at:
            self._seen_at = at
            self.address = address

    def give_up(self, now: float) -> None:
        """The peer is unresponsive: if it had no configured address, wait until it shows up."""
        del now
        if self._configured is None:
            self.address = None

    def changed(self) -> bool:
        """Whether :attr:`address` is another than at the last call."""
        before, self._told = self._told, self.address
        return self._told != before

    def acknowledgements_to(self) -> tuple[Address, ...]:
        """Where acknowledgements go: where everything goes."""
        return self.offers_to(self._seen_at)

    def offers_to(self, now: float) -> tuple[Address, ...]:
        """Where offers of a key exchange go: where everything goes."""
        del now
        return () if self.address is None else (self.address,)
