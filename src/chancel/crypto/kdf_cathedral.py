"""Keys to, from and between cathedrals (cathedral section 1), by the derivations of ``kdf``.

A client and its cathedrals share the *cathedral secret*, cathedrals among themselves the *sync
secret*. Both have 32 bytes.
"""

from __future__ import annotations

from typing import Final

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.suite import Suite
from chancel.wire.types import Buffer, FlockId, Flocks

_NONE: Final = FlockId(0)
_CATHEDRALS: Final = Flocks(
    FlockId(int.from_bytes(b"CATACOMB", "big")), FlockId(int.from_bytes(b"KATEDRAL", "big"))
)
"""What stands for two cathedrals where two peers have flocks."""


def client_offer_base(suite: Suite, secret: Buffer, flock: FlockId) -> bytes:
    """Return the base key of offers between a client and its cathedral, both ways.

    ``secret`` is the cathedral secret, ``flock`` the client's own with its domain.
    """
    return base_key(suite, Purpose.CATHEDRAL_OFFER, secret, Flocks(flock, _NONE))


def federation_offer_base(suite: Suite, secret: Buffer, flock: FlockId) -> bytes:
    """Return the base key of offers between cathedrals about a client of ``flock``, with domain.

    ``secret`` is the sync secret. The purpose is that of offers between peers, as in the reference.
    """
    return base_key(suite, Purpose.PEER_OFFER, secret, Flocks(flock, _NONE))


def federation_shroud_key(suite: Suite, secret: Buffer) -> bytes:
    """Return the key that masks datagrams between cathedrals; ``secret`` is the sync secret."""
    return base_key(suite, Purpose.SHROUD_CATHEDRAL, secret, _CATHEDRALS)
