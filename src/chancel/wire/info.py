"""Info: a client tells its cathedral of a tunnel, and is told where the peer is (type 3).

Both ways it has one layout (cathedral sections 2.2 and 2.5), 38 bytes of which each way uses some::

    flags le32 | peer's address 6 | local 6 | tunnel be16 | ambry generation be32
    receiving SPI le32 | pending SPI le32 | instance be64

Fields that mean nothing in a direction are written as zero and not looked at.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar, Final

from chancel.wire.cathedral_fields import (
    ADDRESS_BYTES,
    TunnelId,
    decode_address,
    decode_little,
    decode_spi,
    encode_address,
    encode_little,
    encode_spi,
)
from chancel.wire.offer import BODY_BYTES, pack, require_size
from chancel.wire.types import Address, Buffer, InstanceId, Spi

LOCAL_BYTES: Final = 6

_INFO = struct.Struct("!4s6s6sHI4s4sQ")
_LOCAL = struct.Struct("!HHH")
_REMEMBRANCE = 1
_SKIP_AMBRY = 2
_PROVES_PATHS = 1 << 31
"""Ours, as far from the reference's as can be; it reads no flag but its own."""
_SAME_EXTERNAL_IPV4 = 2


@dataclasses.dataclass(frozen=True, slots=True)
class InfoBody:
    """Body of a client's info, which registers a tunnel, and of a request of NAT detection.

    ``generation`` is that of the ambry in use, 0 without one. ``receiving`` is the SPI of the
    active receive SA and ``pending`` that of one that waits for its first use: the cathedral relays
    no others. ``proves_paths`` says that the client moves to no address that it has not proved, so
    that it may be told of one that may be none (a convention of ours).
    """

    TYPE: ClassVar[int] = 3
    tunnel: TunnelId
    instance: InstanceId
    generation: int = 0
    receiving: Spi | None = None
    pending: Spi | None = None
    wants_remembrance: bool = False
    skips_ambry: bool = False
    proves_paths: bool = False

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        flags = _REMEMBRANCE * self.wants_remembrance | _SKIP_AMBRY * self.skips_ambry
        flags |= _PROVES_PATHS * self.proves_paths
        return pack(
            _INFO,
            encode_little(flags),
            bytes(ADDRESS_BYTES),
            bytes(LOCAL_BYTES),
            self.tunnel,
            self.generation,
            encode_spi(self.receiving),
            encode_spi(self.pending),
            self.instance,
        ).ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> InfoBody:
        """Read the 442 bytes at ``offset``, all of which can be some body."""
        flags, _, _, tunnel, generation, receiving, pending, instance = _INFO.unpack_from(
            data, offset
        )
        known = decode_little(flags)
        return cls(
            TunnelId(tunnel),
            InstanceId(instance),
            generation,
            decode_spi(receiving),
            decode_spi(pending),
            bool(known & _REMEMBRANCE),
            bool(known & _SKIP_AMBRY),
            bool(known & _PROVES_PATHS),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerBody:
    """Body of a cathedral's answer to an info.

    ``peer`` is where to send what is for the peer: its own address or the cathedral's. That both
    ends have one external address (``same_external_ipv4``) is a hint that may be false. ``local``
    has 6 bytes: see :func:`encode_local`. ``peer_proves_paths`` (a convention of ours) is what the
    peer says of itself in its infos.
    """

    TYPE: ClassVar[int] = 3
    peer: Address | None
    local: bytes = bytes(LOCAL_BYTES)
    same_external_ipv4: bool = False
    peer_proves_paths: bool = False

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        require_size("local", self.local, LOCAL_BYTES)
        flags = _SAME_EXTERNAL_IPV4 * self.same_external_ipv4
        flags |= _PROVES_PATHS * self.peer_proves_paths
        return pack(
            _INFO,
            encode_little(flags),
            encode_address(self.peer),
            self.local,
            0,
            0,
            encode_spi(None),
            encode_spi(None),
            0,
        ).ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> AnswerBody:
        """Read the 442 bytes at ``offset``, all of which can be some body."""
        flags, peer, local, *_ = _INFO.unpack_from(data, offset)
        known = decode_little(flags)
        same, proves = bool(known & _SAME_EXTERNAL_IPV4), bool(known & _PROVES_PATHS)
        return cls(decode_address(peer), local, same, proves)


def encode_local(seen: Address | None) -> bytes:
    """Return what the reference tells a client of its public address: too little to use.

    The port stands in the host's place, before two zeros, and of the host only the first half in
    the port's. Clients refuse a peer with the address that they read here, so it has to be wrong in
    the same way (section 2.5). Six zeros where the client was not seen before; raises
    ``LocalProtocolError`` as :func:`encode_address` does.
    """
    first, _, port = _LOCAL.unpack(encode_address(seen))
    return _LOCAL.pack(port, 0, first)
