"""Encapsulation: the mask of release 0.9.20, which the shroud replaced (protocol section 15).

::

    fake SPI be32 | low half of count be32 | count be64 | seed 16 | datagram, its first 20 XOR mask

The outer header looks like the header of a traffic packet. What it hides is the inner one, or the
magic that marks an offer; the rest of a datagram is random to look at anyway.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from chancel.crypto.kdf_legacy import encapsulation_masks
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.traffic import LEGACY
from chancel.wire.types import Buffer

if TYPE_CHECKING:
    import numpy.typing as npt

HEADER_BYTES: Final = 32
"""By how much every datagram grows."""
MIN_BYTES: Final = HEADER_BYTES + LEGACY.overhead_bytes
"""Nothing shorter is unwrapped: no datagram would be in it."""
MASKED_BYTES: Final = 20
COUNT_LIMIT: Final = 1 << 24
"""A count that is never shown: the fake SPI changes, and counting starts again."""
FIRST_COUNT: Final = 1

_HEADER = struct.Struct("!IIQ16s")
_SPI_BYTES = 4
_SEED_BYTES = 16
_LOW_32 = 0xFFFF_FFFF


class Encapsulation:
    """Masks datagrams under one 32-byte key: a :class:`chancel.protocol.masking.Mask`.

    ``count`` is that of the first datagram.
    """

    def __init__(self, key: Buffer, suite: Suite, count: int = FIRST_COUNT) -> None:
        self._masks = encapsulation_masks(suite, key)
        self._suite = suite
        self._count = count
        self._spi = self._draw_spi()

    def wrap(self, datagram: Buffer, limit: int) -> bytes:
        """Return outer header and masked datagram; no datagram grows beyond that, for any limit."""
        del limit
        header = self.headers(1)
        return header + self._masked(header, datagram)

    def headers(self, count: int) -> bytes:
        """The outer headers of the next ``count`` datagrams, one behind the other."""
        seeds = self._suite.random(count * _SEED_BYTES)
        headers = bytearray()
        for at in range(0, len(seeds), _SEED_BYTES):
            if self._count == COUNT_LIMIT:
                self._count, self._spi = FIRST_COUNT, self._draw_spi()
            seed = seeds[at : at + _SEED_BYTES]
            headers += _HEADER.pack(self._spi, self._count & _LOW_32, self._count, seed)
            self._count += 1
        return bytes(headers)

    def masks(self, headers: bytes, count: int) -> npt.NDArray[np.uint8]:
        """The masks behind ``count`` headers, as rows of ``MASKED_BYTES``.

        For whole runs (``chancel.daemon.hot.masking``).
        """
        masks = self._masks.rows(headers, count, MASKED_BYTES)
        return np.frombuffer(masks, np.uint8).reshape(count, MASKED_BYTES)

    def unwrap(self, datagram: Buffer) -> bytes:
        """Return what follows the outer header, unmasked; nothing in that header is looked at.

        Raises ``RemoteProtocolError`` (``TOO_SHORT``) for less than 66 bytes.
        """
        if len(datagram) < MIN_BYTES:
            raise RemoteProtocolError(Drop.TOO_SHORT)
        return self._masked(datagram[:HEADER_BYTES], datagram[HEADER_BYTES:])

    def _masked(self, header: Buffer, datagram: Buffer) -> bytes:
        """Masking and unmasking are the same."""
        mask = self._masks(header, MASKED_BYTES)
        bits = int.from_bytes(datagram[:MASKED_BYTES], "big") ^ int.from_bytes(mask, "big")
        return b"".join((bits.to_bytes(MASKED_BYTES, "big"), datagram[MASKED_BYTES:]))

    def _draw_spi(self) -> int:
        return int.from_bytes(self._suite.random(_SPI_BYTES), "big")
