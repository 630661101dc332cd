"""What a datagram is, told from its length and first eight bytes (protocol section 2)."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.wire import offer, traffic
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC, OfferLayout
from chancel.wire.traffic import TrafficLayout
from chancel.wire.types import Buffer

MAX_DATAGRAM_BYTES: Final = 1522
"""The reference reads no more of a datagram. Ours have at most 1472 bytes, at the largest MTU."""

_ZERO_SPI = bytes(4)
_CATHEDRAL_MAGIC = CATHEDRAL.magic


class Kind(enum.Enum):
    """The two kinds of datagram between peers, and what a cathedral says to its client."""

    TRAFFIC = "traffic"
    OFFER = "offer"
    CATHEDRAL = "cathedral"
    """For an end without a cathedral it is traffic like any other, as an SPI may be anything."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layouts:
    """The layouts of one version of the protocol."""

    traffic: TrafficLayout
    offer: OfferLayout


CURRENT: Final = Layouts(traffic.CURRENT, offer.CURRENT)
LEGACY: Final = Layouts(traffic.LEGACY, offer.LEGACY)
"""Those of release 0.9.20 (section 15)."""


def classify_untrusted(datagram: Buffer, layouts: Layouts = CURRENT) -> Kind:
    """Tell traffic from offers, before any key or SPI is looked up. How long an offer of a
    cathedral is, isn't looked at here.

    Raises ``RemoteProtocolError``: ``TOO_SHORT`` (less than an empty payload takes: 50 bytes),
    ``TOO_LONG`` (over 1522), ``ZERO_SPI``, ``OFFER_TOO_SHORT`` (an offer's magic on less than an
    offer: 623 bytes).
    """
    size = len(datagram)
    if size < layouts.traffic.overhead_bytes:
        raise RemoteProtocolError(Drop.TOO_SHORT)
    if size > MAX_DATAGRAM_BYTES:
        raise RemoteProtocolError(Drop.TOO_LONG)
    if datagram[:4] == _ZERO_SPI:
        raise RemoteProtocolError(Drop.ZERO_SPI)
    magic = datagram[:8]
    if magic != MAGIC:
        return Kind.TRAFFIC if magic != _CATHEDRAL_MAGIC else Kind.CATHEDRAL
    if size < layouts.offer.offer_bytes:
        raise RemoteProtocolError(Drop.OFFER_TOO_SHORT)
    return Kind.OFFER
