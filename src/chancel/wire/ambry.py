"""The ambry bundle: for each pair of devices a fresh secret, wrapped once for each end.

An *ambry* is one wrapped secret; a bundle is the file with all of them for one flock, or for all
pairs of a device of one flock and a device of another::

    header (70)   expires be16 | generation be32 | seed 64
    entry  (58)   flock be64 | tunnel be16 | wrapped 32 | tag 16       one for each end of a pair

``expires`` is a day, counted from ``EPOCH_S``; ``generation`` is random, not a counter, and 0 means
"none". ``flock`` is that of the device the entry is for, with its domain cleared, and ``tunnel`` is
seen from there: own device id, then the peer's. Pairs stand in the order of :class:`Shape`, the
entry of the first device before that of the second.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Final

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer, FlockId

EPOCH_S: Final = 1_697_855_580
"""2023-10-21 02:33:00 UTC."""
DAY_S: Final = 86_400
MAX_DAYS: Final = 24_855
"""More would overflow the 32-bit seconds of the reference."""

NO_GENERATION: Final = 0
"""What a device says that has no ambry yet; no bundle has it."""

FIRST_DEVICE: Final = 1
LAST_DEVICE: Final = 255
DEVICES: Final = range(FIRST_DEVICE, LAST_DEVICE + 1)

SEED_BYTES: Final = 64
SECRET_BYTES: Final = 32
TAG_BYTES: Final = 16
WRAPPED_BYTES: Final = SECRET_BYTES + TAG_BYTES

_HEADER = struct.Struct(f"!HI{SEED_BYTES}s")
_ENTRY = struct.Struct(f"!QH{WRAPPED_BYTES}s")

HEADER_BYTES: Final = _HEADER.size
ENTRY_BYTES: Final = _ENTRY.size


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What all entries of a bundle share; ``seed`` has 64 bytes."""

    expires: int
    generation: int
    seed: bytes

    @property
    def expires_at(self) -> int:
        """The last second, since 1970, in which it is valid."""
        return EPOCH_S + self.expires * DAY_S

    def encode(self) -> bytes:
        """Return the 70 bytes; ``LocalProtocolError`` if a value doesn't fit."""
        if len(self.seed) != SEED_BYTES:
            raise LocalProtocolError(f"a bundle's seed has {SEED_BYTES} bytes, not more or less")
        try:
            return _HEADER.pack(self.expires, self.generation, self.seed)
        except struct.error as error:
            raise LocalProtocolError(f"a value doesn't fit a bundle's header: {error}") from error

    @classmethod
    def decode_untrusted(cls, data: Buffer) -> Header:
        """Read the first 70 bytes; the caller has checked that they are there."""
        return cls(*_HEADER.unpack_from(data))


def expiry(now: float, days: int) -> int:
    """Return ``expires`` for a bundle made ``now`` (since 1970) to live ``days`` days.

    It is rounded down: such a bundle lives between ``days - 1`` and ``days`` days.
    """
    return int(now + days * DAY_S - EPOCH_S) // DAY_S


def tunnel(own: int, peer: int) -> int:
    """Return the 16-bit name that device ``own`` has for its tunnel with device ``peer``."""
    return own << 8 | peer


def encode_entry_into(
    target: Buffer, index: int, flock: FlockId, name: int, wrapped: Buffer
) -> None:
    """Write the entry number ``index`` of a bundle; ``wrapped`` has 48 bytes, tag included."""
    _ENTRY.pack_into(target, HEADER_BYTES + index * ENTRY_BYTES, flock, name, bytes(wrapped))


def decode_entries_untrusted(bundle: Buffer) -> Iterator[tuple[int, int, bytes]]:
    """Read flock, tunnel and wrapped secret of each entry; the size was checked (:meth:`of_size`).

    Nothing is checked but the layout.
    """
    return _ENTRY.iter_unpack(memoryview(bundle)[HEADER_BYTES:])


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """Which pairs a bundle has: (device, peer), the peer counting faster.

    Within one flock each pair of different devices once, the smaller id first. Crossing, each
    device of the first flock with each of the second, equal ids too.
    """

    crossing: bool

    def peers(self, device: int) -> range:
        """The second devices of the pairs whose first is ``device``."""
        return DEVICES if self.crossing else range(device + 1, LAST_DEVICE + 1)

    def pairs_before(self, device: int) -> int:
        """How many pairs stand before the first of ``device``."""
        earlier = device - FIRST_DEVICE
        if self.crossing:
            return earlier * len(DEVICES)
        return earlier * LAST_DEVICE - device * earlier // 2

    @property
    def pairs(self) -> int:
        """32385, or crossing 65025."""
        return self.pairs_before(LAST_DEVICE) + len(self.peers(LAST_DEVICE))

    @property
    def size(self) -> int:
        """Size of the file: 3756730 bytes, or crossing 7542970."""
        return HEADER_BYTES + 2 * self.pairs * ENTRY_BYTES

    @classmethod
    def of_size(cls, size: int) -> Shape | None:
        """The shape of a file of this size; ``None`` if no bundle has it."""
        return {shape.size: shape for shape in (OWN, CROSSING)}.get(size)


OWN: Final = Shape(crossing=False)
CROSSING: Final = Shape(crossing=True)
