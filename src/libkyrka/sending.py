"""The key we send with, made ready for one packet at a time (kyrka section 5)."""

from __future__ import annotations

import struct
from typing import Final

from chancel.protocol.profile import CURRENT
from chancel.protocol.traffic import Reservation
from chancel.wire.traffic import NEXT_INNER, add_tail

_HEADER = struct.Struct("!4sIQ16s")
"""SPI, sequence, packet number, flocks; all but the numbers are the same for all of a key."""
_LOW_32 = 0xFFFF_FFFF
_pack = _HEADER.pack
_TAIL = add_tail(b"", NEXT_INNER)

ALL_NUMBERS: Final = CURRENT.send_limit_packets - 1
"""How many packets one key may seal: their numbers begin with 1."""


class Sending:
    """One key and its packet numbers.

    It owns all numbers of its key, and takes each from one iterator, which the interpreter advances
    as one step: so even threads that wrongly share a context never seal under one number.
    """

    __slots__ = ("_encrypt", "_flocks", "_numbers", "_salt", "_spi", "expires_at", "installed_at")

    def __init__(self, keys: Reservation, installed_at: float) -> None:
        """``keys`` are all numbers of the key. From ``expires_at`` on nobody may use it."""
        self.installed_at = installed_at
        self.expires_at = installed_at + CURRENT.send_limit_age_s
        self._encrypt = keys.aead.encrypt
        self._salt = bytes(keys.salt)
        self._spi, _, _, self._flocks = _HEADER.unpack(keys.header)
        self._numbers = iter(range(keys.first_number, keys.first_number + ALL_NUMBERS))

    def __repr__(self) -> str:
        return f"<Sending spi={self._spi.hex()}>"

    def seal(self, payload: bytes) -> tuple[bytes, int] | None:
        """Return the datagram and its number, or ``None`` when no number is left."""
        number = next(self._numbers, 0)
        if not number:
            return None
        header = _pack(self._spi, number & _LOW_32, number, self._flocks)
        text = self._encrypt(self._salt + header[8:16], payload + _TAIL, header)
        return header + text, number

    def end(self) -> int:
        """Take the next number for good; one more than the last where none is left."""
        return next(self._numbers, ALL_NUMBERS + 1)
