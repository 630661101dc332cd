"""Whether a request was made before, by its own word of when: it is signed, so nobody can alter it.

A captured request stays valid for as long as clocks may differ, and whoever sends it again from
elsewhere would be taken for the client (cathedral section 12). So time only goes forward, and
within one second a signature is refused that comes again from elsewhere. From where the client is
already it changes nothing; but it costs as much as the first time, so repeats count.

A clock that is set back makes a client say what seems old. Once what it said before is from a
future that would be refused itself, it counts no more: where the clock of a whole machine was wrong
by an hour, its clients must not have to wait for that hour. A client whose clock was wrong by less
than clocks may differ is heard again after as many seconds.
"""

from __future__ import annotations

from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.protocol.profile import CURRENT
from chancel.wire.drop import Drop

MAX_PER_SECOND: Final = 8
"""Requests of one kind for one tunnel in one second of the client's clock, repeats included.
Daemons send one every five seconds; programs choose, and one a second is usual."""

_MARK_BYTES: Final = 8
"""Of a signature's first half, which is a hash: enough to tell a few from each other."""


class Freshness:
    """The newest requests of one kind for one tunnel or device."""

    __slots__ = ("_marks", "_timestamp")

    def __init__(self) -> None:
        self._timestamp = 0
        self._marks = b""

    def take(self, timestamp: int, signature: bytes, elsewhere: bool, wall: float) -> None:
        """Count an authentic request that is in time by our clock, ``wall``.

        ``elsewhere``: it comes from another address than the last.

        Raises ``RemoteProtocolError``: ``OFFER_REPLAYED``, ``OFFER_LIMIT``.
        """
        if timestamp < self._timestamp <= int(wall) + CURRENT.offer_validity_s:
            raise RemoteProtocolError(Drop.OFFER_REPLAYED)
        mark = signature[:_MARK_BYTES]
        if timestamp != self._timestamp:
            self._timestamp, self._marks = timestamp, mark
            return
        if elsewhere and self._has(mark):
            raise RemoteProtocolError(Drop.OFFER_REPLAYED)
        if len(self._marks) == MAX_PER_SECOND * _MARK_BYTES:
            raise RemoteProtocolError(Drop.OFFER_LIMIT)
        self._marks += mark

    def _has(self, mark: bytes) -> bool:
        marks = self._marks
        return any(marks[at : at + _MARK_BYTES] == mark for at in range(0, len(marks), _MARK_BYTES))
