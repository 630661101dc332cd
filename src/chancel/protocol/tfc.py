"""Traffic flow confidentiality: packets of one size (protocol section 12.1).

Each payload is filled with zeros up to the tunnel's MTU before it is sealed, and each exchange
offer with random bytes up to the same datagram. The receiver finds the end of an IP packet in its
own header. Both ends need the same, fixed MTU.

The reference reads an IPv4 length from whatever comes; we read an IPv6 packet's length where IPv6
has it, so that between two ends of our kind IPv6 is carried as well. No packet means something
else by that: the reference drops IPv6 anyway.
"""

from __future__ import annotations

from typing import Final

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Buffer

MIN_INNER_BYTES: Final = 20
"""An IPv4 header; a payload or a length below is refused."""
IP6_HEADER_BYTES: Final = 40


class Tfc:
    """Fills and cuts the packets of a tunnel with this MTU."""

    def __init__(self, mtu: int, overhead_bytes: int = OVERHEAD_BYTES) -> None:
        self.mtu = mtu
        self._datagram_bytes = mtu + overhead_bytes

    def fill(self, payload: Buffer) -> bytes:
        """Return the payload with zeros behind it, as long as the MTU."""
        return bytes(payload).ljust(self.mtu, b"\0")

    def fill_offer(self, offer: Buffer, suite: Suite) -> bytes:
        """Return the offer with random bytes behind it, as long as every traffic packet."""
        missing = max(0, self._datagram_bytes - len(offer))
        return b"".join((offer, suite.random(missing)))

    def cut_untrusted(self, payload: bytes) -> bytes:
        """Return the IP packet at the head of an authentic payload.

        Raises ``RemoteProtocolError`` (``TFC_LENGTH``) where its length can't be.
        """
        return payload[: inner_length_untrusted(payload)]


def inner_length_untrusted(payload: Buffer) -> int:
    """The length that an IP packet says it has: at least 20, and within the payload.

    Raises ``RemoteProtocolError`` (``TFC_LENGTH``).
    """
    if len(payload) < MIN_INNER_BYTES:
        raise RemoteProtocolError(Drop.TFC_LENGTH)
    if payload[0] >> 4 == 6:
        length = IP6_HEADER_BYTES + int.from_bytes(payload[4:6], "big")
    else:
        length = int.from_bytes(payload[2:4], "big")
    if not MIN_INNER_BYTES <= length <= len(payload):
        raise RemoteProtocolError(Drop.TFC_LENGTH)
    return length
