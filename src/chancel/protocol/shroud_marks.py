"""By what a cathedral tells whose shroud a datagram wears: the mark at its head (section 9).

::

    id 16 = KMAC256(base identity, seed_id) | seed_id 16

A client keeps a mark for five minutes and draws another ``seed_id`` then. The base identity
(``chancel.crypto.kdf.shroud_base_identity``) holds no secret: whoever knows a client's flocks and
identity can make its mark and recognise it.
"""

from __future__ import annotations

from typing import Final

from chancel.crypto.kdf import IDENTITY_BYTES, shroud_identity
from chancel.crypto.suite import Suite
from chancel.wire.types import Buffer

ROTATE_S: Final = 300.0
MARK_BYTES: Final = 2 * IDENTITY_BYTES


class Marks:
    """The marks of one client, one after the other."""

    def __init__(self, suite: Suite, base_identity: bytes) -> None:
        self._suite = suite
        self._base_identity = base_identity
        self._mark = b""
        self._until = 0.0

    def current(self, now: float) -> bytes:
        """The 32 bytes with which a datagram's shroud begins that is sent ``now``."""
        if not self._mark or now >= self._until:
            seed = self._suite.random(IDENTITY_BYTES)
            self._mark = shroud_identity(self._suite, self._base_identity, seed) + seed
            self._until = now + ROTATE_S
        return self._mark


def is_mark_of_untrusted(suite: Suite, base_identity: bytes, datagram: Buffer) -> bool:
    """Whether a masked datagram begins with a mark of this client."""
    if len(datagram) < MARK_BYTES:
        return False
    id_, seed = datagram[:IDENTITY_BYTES], datagram[IDENTITY_BYTES:MARK_BYTES]
    return shroud_identity(suite, base_identity, seed) == id_
