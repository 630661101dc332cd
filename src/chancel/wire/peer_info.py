"""Peer info: a cathedral tells another where its client can be reached directly (type 7).

::

    address 6 | tunnel be16 | reachable be32

12 bytes (cathedral section 5.4).
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from chancel.wire.cathedral_fields import TunnelId, decode_address, encode_address
from chancel.wire.offer import BODY_BYTES, pack
from chancel.wire.types import Address, Buffer

_PEER_INFO = struct.Struct("!6sHI")


@dataclasses.dataclass(frozen=True, slots=True)
class PeerInfoBody:
    """Body of a peer info. ``reachable``: the client's NAT shows this one address to everybody."""

    TYPE: ClassVar[int] = 7
    tunnel: TunnelId
    address: Address | None
    reachable: bool

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        address = encode_address(self.address)
        return pack(_PEER_INFO, address, self.tunnel, self.reachable).ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> PeerInfoBody:
        """Read the 442 bytes at ``offset``, all of which can be some body."""
        address, tunnel, reachable = _PEER_INFO.unpack_from(data, offset)
        return cls(TunnelId(tunnel), decode_address(address), bool(reachable))
