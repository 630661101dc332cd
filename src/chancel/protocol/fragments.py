"""Collecting the four fragments of the peer's ML-KEM value (protocol section 7.3)."""

from __future__ import annotations

from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.offer import FRAGMENT_BYTES, FRAGMENTS

_COMPLETE = (1 << FRAGMENTS) - 1


class FragmentSet:
    """Fragments of one value; ``origin`` is what those of one value have in common.

    ``newest`` is the latest timestamp among them: seconds of the sender's wall clock.
    """

    def __init__(self, origin: object, timestamp: int) -> None:
        self.origin = origin
        self.newest = timestamp
        self._mask = 0
        self._buffer = bytearray(FRAGMENTS * FRAGMENT_BYTES)

    def add_untrusted(self, number: int, fragment: bytes, timestamp: int) -> bytes | None:
        """Store one fragment (392 bytes); returns the whole value with the last one.

        Raises ``RemoteProtocolError`` (``OFFER_FRAGMENT_SEEN``).
        """
        self.newest = max(self.newest, timestamp)
        bit = 1 << number
        if self._mask & bit:
            raise RemoteProtocolError(Drop.OFFER_FRAGMENT_SEEN)
        self._mask |= bit
        at = number * FRAGMENT_BYTES
        self._buffer[at : at + FRAGMENT_BYTES] = fragment
        return bytes(self._buffer) if self._mask == _COMPLETE else None
