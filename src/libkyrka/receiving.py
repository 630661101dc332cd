"""The key we receive with, made ready for one packet at a time (kyrka section 6)."""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag

from chancel.errors import RemoteProtocolError
from chancel.protocol.opening import Slot
from chancel.wire.drop import Drop
from chancel.wire.traffic import (
    FIRST_PACKET_NUMBER,
    HEADER_BYTES,
    NEXT_INNER,
    TAIL_BYTES,
    add_tail,
    split_tail_untrusted,
)

_HEADER = struct.Struct("!4sIQ16s")
"""SPI, sequence, packet number, flocks; all but the numbers are the same for all of a key."""
_LOW_32 = 0xFFFF_FFFF
_TAIL = add_tail(b"", NEXT_INNER)
_unpack = _HEADER.unpack_from


class Receiving:
    """One key. Only data counts as received under it: control messages end here.

    The replay window is told late of packets that come in order: those from ``_settled`` up to,
    without it, ``_expected``, the one that comes next if nothing is lost. What comes next in order
    is above all that was ever seen, so it needs no look at the window either.
    """

    __slots__ = (
        "_decrypt",
        "_expected",
        "_flocks",
        "_salt",
        "_settled",
        "_slot",
        "_window",
        "spi_bytes",
    )

    def __init__(self, slot: Slot, flocks: bytes) -> None:
        """``flocks`` are the bytes of every header that the peer sends."""
        self.spi_bytes = slot.spi.to_bytes(4, "big")
        self._slot = slot
        self._flocks = flocks
        self._salt = bytes(slot.salt)
        self._window = slot.window
        self._expected = self._settled = FIRST_PACKET_NUMBER
        self._decrypt = slot.aead.decrypt

    def open_untrusted(self, datagram: bytes) -> tuple[bytes, int]:
        """Return payload and packet number of a packet that begins with our SPI and is long enough
        for an empty payload (50 bytes).

        Raises ``RemoteProtocolError``: ``FLOCK_MISMATCH``, ``SEQUENCE_MISMATCH``, ``DUPLICATE``,
        ``TOO_OLD``, ``BAD_TAG``, and for an authentic one that isn't data ``RESERVED_NOT_ZERO`` and
        ``UNKNOWN_NEXT``.
        """
        _, sequence, number, flocks = _unpack(datagram)
        if flocks != self._flocks:
            raise RemoteProtocolError(Drop.FLOCK_MISMATCH)
        if sequence != number & _LOW_32:
            raise RemoteProtocolError(Drop.SEQUENCE_MISMATCH)
        in_order = number == self._expected
        if not in_order:
            self._settle()
            refused = self._window.refusal(number)
            if refused is not None:
                raise RemoteProtocolError(refused)
        header = datagram[:HEADER_BYTES]
        try:
            plaintext = self._decrypt(self._salt + header[8:16], datagram[HEADER_BYTES:], header)
        except InvalidTag:
            raise RemoteProtocolError(Drop.BAD_TAG) from None
        if in_order:
            self._expected = number + 1
        else:
            self._window.mark(number)
            self._settled = self._expected = self._window.highest + 1
        if plaintext[-TAIL_BYTES:] != _TAIL:
            split_tail_untrusted(plaintext)  # says what is wrong, unless it is a control message
            raise RemoteProtocolError(Drop.UNKNOWN_NEXT)
        self._slot.packets += 1
        return plaintext[:-TAIL_BYTES], number

    def _settle(self) -> None:
        """Tell the window what came in order; what lies below its width it needn't know."""
        window, end = self._window, self._expected
        for number in range(max(self._settled, end - window.width), end):
            window.mark(number)
        self._settled = end
