"""A bundle of wrapped secrets, as a cathedral serves it: entry by entry, opening none.

The file's bytes are kept as they are, with a table of places in it: 130,000 objects of Python's
would take ten times the memory.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from chancel.errors import VaultError
from chancel.wire.ambry import (
    ENTRY_BYTES,
    HEADER_BYTES,
    NO_GENERATION,
    WRAPPED_BYTES,
    Header,
    Shape,
)
from chancel.wire.types import FlockId

_ENTRY: Final = np.dtype([("flock", ">u8"), ("tunnel", ">u2"), ("wrapped", f"V{WRAPPED_BYTES}")])
_TUNNELS: Final = 0x1_0000
_NONE: Final = -1
_WRAPPED_AT: Final = ENTRY_BYTES - WRAPPED_BYTES


class Bundle:
    """The wrapped secrets of one flock, or between two; :meth:`decode_untrusted` makes one."""

    __slots__ = ("_data", "_places", "header")

    def __init__(
        self, header: Header, data: bytes, places: dict[FlockId, npt.NDArray[np.int32]]
    ) -> None:
        self.header = header
        self._data = data
        self._places = places

    def __repr__(self) -> str:
        return f"<Bundle generation={self.header.generation:08x}>"

    @classmethod
    def decode_untrusted(
        cls, data: bytes, flocks: tuple[FlockId, FlockId], wall: float, name: str
    ) -> Bundle:
        """Read a bundle's bytes for these flocks, without domains: one twice, or two.

        Raises ``VaultError`` under the name of its file: for another size than a bundle of such
        flocks has, without generation, expired, or with an entry that is foreign or there twice
        (cathedral section 8.4).
        """
        owners = sorted(set(flocks))
        shape = Shape.of_size(len(data))
        if shape is None or shape.crossing != (len(owners) == 2):
            wanted = Shape(crossing=len(owners) == 2).size
            raise VaultError(f"{name}: has {len(data)} bytes, and such a bundle has {wanted}")
        header = Header.decode_untrusted(data)
        if header.generation == NO_GENERATION:
            raise VaultError(f"{name}: has generation 0, which means none")
        if header.expires_at < wall:
            raise VaultError(f"{name}: is expired: make another one with `chancel ambry bundle`")
        return cls(header, data, _places(data, owners, name))

    def wrapped(self, flock: FlockId, tunnel: int) -> bytes | None:
        """The 48 bytes for the device at this end of a tunnel; ``None`` if it has none.

        ``flock`` is that of the device, without domain, ``tunnel`` as the device names it.
        """
        places = self._places.get(flock)
        place = _NONE if places is None else int(places[tunnel])
        if place == _NONE:
            return None
        at = HEADER_BYTES + place * ENTRY_BYTES + _WRAPPED_AT
        return self._data[at : at + WRAPPED_BYTES]


def _places(data: bytes, owners: list[FlockId], name: str) -> dict[FlockId, npt.NDArray[np.int32]]:
    entries = np.frombuffer(data, _ENTRY, offset=HEADER_BYTES)
    found: dict[FlockId, npt.NDArray[np.int32]] = {}
    known = 0
    for owner in owners:
        mine = np.flatnonzero(entries["flock"] == owner)
        places = np.full(_TUNNELS, _NONE, np.int32)
        places[entries["tunnel"][mine]] = mine
        known += int(np.count_nonzero(places != _NONE))
        found[owner] = places
    if known != len(entries):
        raise VaultError(f"{name}: has entries for a foreign flock, or for one tunnel twice")
    return found
