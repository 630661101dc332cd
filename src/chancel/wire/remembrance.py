"""Remembrance: a cathedral tells a client of all it knows, itself first (type 5).

::

    32 hosts, 4 bytes each | 32 ports be16

192 bytes, unused slots zero (cathedral section 6). A client's file of them has the same bytes.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar, Final

from chancel.errors import LocalProtocolError
from chancel.wire.cathedral_fields import ADDRESS_BYTES, decode_address, encode_address
from chancel.wire.offer import BODY_BYTES
from chancel.wire.types import Address, Buffer

SLOTS: Final = 32
TABLE_BYTES: Final = SLOTS * ADDRESS_BYTES

_HOST_BYTES = 4
_PORT_BYTES = ADDRESS_BYTES - _HOST_BYTES
_TABLE = struct.Struct(f"{SLOTS * _HOST_BYTES}s{SLOTS * _PORT_BYTES}s")


@dataclasses.dataclass(frozen=True, slots=True)
class RemembranceBody:
    """Body of a remembrance: 32 addresses at most."""

    TYPE: ClassVar[int] = 5
    cathedrals: tuple[Address, ...]

    def encode_table(self) -> bytes:
        """Return the 192 bytes alone, a file's content.

        Raises ``LocalProtocolError`` for more addresses than slots, and for what is no IPv4 address
        and port.
        """
        if len(self.cathedrals) > SLOTS:
            raise LocalProtocolError(
                f"a remembrance has room for {SLOTS} cathedrals, not {len(self.cathedrals)}"
            )
        encoded = [encode_address(address) for address in self.cathedrals]
        hosts = b"".join([each[:_HOST_BYTES] for each in encoded])
        ports = b"".join([each[_HOST_BYTES:] for each in encoded])
        return _TABLE.pack(hosts, ports)  # which fills up with zeros

    @classmethod
    def decode_table_untrusted(cls, table: Buffer, offset: int = 0) -> RemembranceBody:
        """Read the 192 bytes at ``offset``, as far as the first slot without host or port."""
        hosts, ports = _TABLE.unpack_from(table, offset)
        found = []
        for slot in range(SLOTS):
            host = hosts[slot * _HOST_BYTES : (slot + 1) * _HOST_BYTES]
            port = ports[slot * _PORT_BYTES : (slot + 1) * _PORT_BYTES]
            address = decode_address(host + port)
            if address is None:
                break
            found.append(address)
        return cls(tuple(found))

    def encode(self) -> bytes:
        """Return the 442 bytes; ``LocalProtocolError`` as :meth:`encode_table`."""
        return self.encode_table().ljust(BODY_BYTES, b"\0")

    @classmethod
    def decode_untrusted(cls, data: Buffer, offset: int) -> RemembranceBody:
        """Read the 442 bytes at ``offset``, all of which can be some body."""
        return cls.decode_table_untrusted(data, offset)
