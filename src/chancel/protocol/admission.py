"""Which offers are worth the work of opening them.

Opening an offer costs a read of the secret, key derivation and a decryption; a stranger pays
nothing to cause that. And within the seconds in which its timestamp is valid, a recorded offer
would be taken again, and the peer be looked for at whatever address replayed it (protocol section
7.6). Both are stopped here, before any key is involved.
"""

from __future__ import annotations

from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.offer import CURRENT, SEED_BYTES, OfferLayout
from chancel.wire.types import Buffer

MAX_FORGERIES_PER_S = 256
"""Offers with a bad tag that are opened per second, the peer's own address apart."""

MAX_REMEMBERED = 1024
"""Offers remembered: a peer sends 8 each second, and each is remembered for 20 s at most."""

_WINDOW_S = 1.0


class Admission:
    """Decides before an offer is opened, and learns what came of it."""

    def __init__(self, now: float, validity_s: int, layout: OfferLayout = CURRENT) -> None:
        self._seed = slice(layout.header_bytes - SEED_BYTES, layout.header_bytes)
        self._validity_s = validity_s
        self._window_at = now
        self._forgeries = 0
        self._taken: dict[bytes, int] = {}

    def admit_untrusted(self, datagram: Buffer, known_source: bool, now: float) -> None:
        """Raises ``RemoteProtocolError``: ``OFFER_ALREADY_DONE`` for a repeat of the very same
        packet, ``OFFER_LIMIT`` where too many were forged lately.
        """
        if bytes(datagram[self._seed]) in self._taken:
            raise RemoteProtocolError(Drop.OFFER_ALREADY_DONE)
        if now >= self._window_at + _WINDOW_S:
            self._window_at = now
            self._forgeries = 0
        if self._forgeries >= MAX_FORGERIES_PER_S and not known_source:
            raise RemoteProtocolError(Drop.OFFER_LIMIT)

    def forged(self) -> None:
        """The packet's tag was bad."""
        self._forgeries += 1

    def taken(self, datagram: Buffer, timestamp: int, wall: float) -> None:
        """The packet is authentic and in time: its seed is never accepted again."""
        # In order of arrival, so about in order of age: what is behind a valid one can wait.
        while self._taken:
            seed, made = next(iter(self._taken.items()))
            if made + self._validity_s >= int(wall) and len(self._taken) < MAX_REMEMBERED:
                break
            del self._taken[seed]
        self._taken[bytes(datagram[self._seed])] = timestamp
