"""Liturgy: a device asks its cathedral who else is there, and is told (type 4).

::

    id 1 | group be16 | peers 255 | hidden 1 | flags le32

263 bytes, the same both ways (cathedral section 7.1).
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar, Final

from chancel.wire.cathedral_fields import decode_little, encode_little
from chancel.wire.offer import BODY_BYTES, pack, require_size
from chancel.wire.types import Buffer

PEERS_BYTES: Final = 255
"""One for each device id from 0 to 254; 255 has no place."""

_LITURGY = struct.Struct(f"!BH{PEERS_BYTES}sB4s")
_REMEMBRANCE = 1
_SIGNALING = 2


@dataclasses.dataclass(frozen=True, slots=True)
class LiturgyBody:
    """Body of a liturgy.

    Asking, ``id`` is the device's own, and ``peers`` means something only when signaling: 1 for
    each device that is wanted. Answering, ``id`` is 0 and ``peers`` has 1 for each device there.
    """

    TYPE: ClassVar[int] = 4
    id: int
    group: int
    peers: bytes = bytes(PEERS_BYTES)
    hidden: bool = False
    wants_remembrance: bool = False
    signaling: bool = False

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        require_size("peers", self.peers, PEERS_BYTES)
        flags = _REMEMBRANCE * self.wants_remembrance | _SIGNALING * self.signaling
        return pack(
            _LITURGY, self.id, self.group, self.peers, self.hidden, encode_little(flags)
        ).ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> LiturgyBody:
        """Read the 442 bytes at ``offset``, all of which can be some body."""
        id_, group, peers, hidden, flags = _LITURGY.unpack_from(data, offset)
        known = decode_little(flags)
        return cls(
            id_, group, peers, bool(hidden), bool(known & _REMEMBRANCE), bool(known & _SIGNALING)
        )
