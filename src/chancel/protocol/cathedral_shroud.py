"""The shroud between a client and its cathedrals, all of which share one key with it.

What we send begins with a mark, by which a cathedral tells whose it is (cathedral section 9.1).
"""

from __future__ import annotations

from chancel.crypto.kdf import cathedral_shroud_key, shroud_base_identity
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.registration_types import Registrant
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import Marks
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer


class CathedralShroud:
    """Masks and unmasks for one client. Whoever has it wakes :attr:`keys`, and then calls
    :meth:`take`."""

    def __init__(self, registrant: Registrant, suite: Suite, now: float) -> None:
        flocks = registrant.flocks
        self.keys = MaskKeys(
            registrant.secret, lambda secret: cathedral_shroud_key(suite, secret, flocks), now
        )
        self.shroud: Shroud | None = None
        self._suite = suite
        self._marks = Marks(suite, shroud_base_identity(suite, flocks, registrant.identity))

    def wrap(self, datagram: Buffer, limit: int, now: float) -> bytes | None:
        """Return the datagram to send; ``None`` without a key. ``limit`` as in ``Mask``."""
        if self.shroud is None:
            return None
        return self.shroud.wrap(datagram, limit, self._marks.current(now))

    def unwrap_untrusted(self, datagram: Buffer) -> bytes:
        """Return what was wrapped: what cathedrals send is random from the first byte on.

        Raises ``RemoteProtocolError``: ``NO_MASK``, and what the shroud raises.
        """
        if self.shroud is None:
            raise RemoteProtocolError(Drop.NO_MASK)
        return self.shroud.unwrap(datagram)

    def take(self) -> None:
        """Use the newest key."""
        for command in self.keys.commands():
            self.shroud = Shroud(command.key, self._suite)
