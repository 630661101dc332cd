"""Ambry offer: a cathedral hands out a secret, wrapped for one device and one tunnel (type 2).

::

    tunnel be16 | header of the bundle 70 | wrapped secret 32 | tag 16

120 bytes (cathedral section 8.4). The cathedral that sends it can't open it.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from chancel.wire.ambry import HEADER_BYTES, WRAPPED_BYTES, Header
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.offer import BODY_BYTES, pack, require_size
from chancel.wire.types import Buffer

_AMBRY = struct.Struct(f"!H{HEADER_BYTES}s{WRAPPED_BYTES}s")


@dataclasses.dataclass(frozen=True, slots=True)
class AmbryBody:
    """Body of an ambry offer: an entry of a bundle, and that bundle's header.

    ``tunnel`` is as the receiver sees it, ``wrapped`` has 48 bytes: secret and tag.
    """

    TYPE: ClassVar[int] = 2
    tunnel: TunnelId
    header: Header
    wrapped: bytes

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        require_size("wrapped", self.wrapped, WRAPPED_BYTES)
        body = pack(_AMBRY, self.tunnel, self.header.encode(), self.wrapped)
        return body.ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> AmbryBody:
        """Read the 442 bytes at ``offset``, all of which can be some body."""
        tunnel, header, wrapped = _AMBRY.unpack_from(data, offset)
        return cls(TunnelId(tunnel), Header.decode_untrusted(header), wrapped)
