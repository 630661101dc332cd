"""The protocol's key derivation: KMAC256 over length-prefixed inputs (protocol section 5).

Every length prefix is one byte. Functions take the suite for its ``kmac256`` alone and keep
nothing. Where a secret goes in, a revealed view of it (``chancel.vault``) is taken as it is.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Callable
from typing import Final

from chancel.crypto.suite import KEY_BYTES, Suite
from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer, FlockId, Flocks, SessionKey

IDENTITY_BYTES: Final = 16
TRAFFIC_LABEL: Final = b"SANCTUM.TRAFFIC.KDF"

_DOMAIN_BITS = 0xFF
_FLOCKS = struct.Struct("!BQBQ")
"""Two of them, each behind its length."""


class Purpose(enum.Enum):
    """What a base key is for; the value is its label (section 5.1)."""

    PEER_OFFER = b"SANCTUM.PEER.OFFER.KDF"
    TRAFFIC_RX = b"SANCTUM.KEY.TRAFFIC.RX.KDF"
    TRAFFIC_TX = b"SANCTUM.KEY.TRAFFIC.TX.KDF"
    SHROUD_PEER = b"SANCTUM.SHROUD.KEY"
    KEK_UNWRAP = b"SANCTUM.KEY.KEK.UNWRAP.KDF"
    CATHEDRAL_OFFER = b"SANCTUM.CATHEDRAL.OFFER.KDF"
    SHROUD_CATHEDRAL = b"SANCTUM.CATHEDRAL.SHROUD.KEY"


class OfferKind(enum.Enum):
    """Who an offer is between; the value is its label (section 5.2).

    The base key is one for ``PEER_OFFER`` (a pilgrim's, which is a one-way sender's, with flocks 0
    and 0) or, to and from a cathedral (a discovery and relay server), for ``CATHEDRAL_OFFER``.
    Offers of the ``FEDERATION`` go between cathedrals; ``kdf_cathedral`` has their base keys.
    """

    EXCHANGE = b"SANCTUM.SACRAMENT.KDF"
    PILGRIM = b"SANCTUM.PILGRIMAGE.KDF"
    CATHEDRAL = b"SANCTUM.CATHEDRAL.KDF"
    FEDERATION = b"SANCTUM.CATHEDRAL.CATACOMB"


def base_key(suite: Suite, purpose: Purpose, secret: Buffer, flocks: Flocks) -> bytes:
    """Return the 32-byte key of one purpose under one secret; the order of the flocks is no input.

    Whether domain bits go in is the caller's choice (section 5.1): see :func:`without_domains`.
    """
    return suite.kmac256(secret, _sorted_flocks(flocks), KEY_BYTES, purpose.value)


def without_domains(flocks: Flocks) -> Flocks:
    """Return the flocks with their lowest 8 bits, the domain, cleared."""
    return Flocks(FlockId(flocks.own & ~_DOMAIN_BITS), FlockId(flocks.peer & ~_DOMAIN_BITS))


def offer_key(suite: Suite, kind: OfferKind, base: Buffer, seed: Buffer) -> bytes:
    """Return the 32-byte key of the one offer that carries this 64-byte seed (section 5.2)."""
    return suite.kmac256(base, _prefixed(64, seed), KEY_BYTES, kind.value)


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficInputs:
    """What the two sides of one direction agreed on (section 5.3).

    ``ecdh_secret`` and ``kem_secret`` have 32 bytes. ``publics`` are the two X25519 public keys (32
    bytes each), ``randoms`` the two randoms (16 bytes each); in both, the value of the side with
    the larger instance id comes first.
    """

    ecdh_secret: Buffer = dataclasses.field(repr=False)
    kem_secret: Buffer = dataclasses.field(repr=False)
    publics: tuple[Buffer, Buffer]
    randoms: tuple[Buffer, Buffer]

    def encode(self) -> bytes:
        """Return the inputs but the randoms, each behind its length: 132 bytes."""
        parts = (self.ecdh_secret, self.kem_secret, *self.publics)
        return b"".join([_prefixed(32, part) for part in parts])


def traffic_key(suite: Suite, base: Buffer, inputs: TrafficInputs) -> SessionKey:
    """Return the traffic key of one direction (section 5.3).

    ``base`` is the base key for ``TRAFFIC_RX`` or ``TRAFFIC_TX``, as section 6.3 chooses.
    """
    data = inputs.encode() + _prefixed(32, b"".join(inputs.randoms))
    return SessionKey(suite.kmac256(base, data, KEY_BYTES, TRAFFIC_LABEL))


@dataclasses.dataclass(frozen=True, slots=True)
class KeySchedule:
    """The derivations in which versions of the protocol differ.

    ``base_key`` takes what :func:`base_key` takes, ``traffic_key`` what :func:`traffic_key` takes.
    """

    base_key: Callable[[Suite, Purpose, Buffer, Flocks], bytes]
    traffic_key: Callable[[Suite, Buffer, TrafficInputs], SessionKey]


CURRENT: Final = KeySchedule(base_key, traffic_key)


def peer_shroud_key(suite: Suite, secret: Buffer, flocks: Flocks) -> bytes:
    """Return the key that masks datagrams (a shroud) between peers (section 12.2.2)."""
    return base_key(suite, Purpose.SHROUD_PEER, secret, flocks)


def cathedral_shroud_key(suite: Suite, secret: Buffer, flocks: Flocks) -> bytes:
    """Return the key that masks datagrams to and from a cathedral (section 12.2.4)."""
    return base_key(suite, Purpose.SHROUD_CATHEDRAL, secret, without_domains(flocks))


def shroud_base_identity(suite: Suite, flocks: Flocks, cathedral_id: int) -> bytes:
    """Return the 16 bytes from which a cathedral tells whose shroud it is (section 12.2.4)."""
    data = _sorted_flocks(without_domains(flocks)) + _prefixed(4, cathedral_id.to_bytes(4, "big"))
    key = bytes(KEY_BYTES)
    return suite.kmac256(key, data, IDENTITY_BYTES, b"SANCTUM.SHROUD.BASE.IDENTITY")


def shroud_identity(suite: Suite, base_identity: Buffer, seed_id: Buffer) -> bytes:
    """Return the 16-byte id of a shroud for a 16-byte ``seed_id`` (section 12.2.4)."""
    return suite.kmac256(base_identity, seed_id, IDENTITY_BYTES, b"SANCTUM.SHROUD.IDENTITY")


def _sorted_flocks(flocks: Flocks) -> bytes:
    own, peer = flocks
    return _FLOCKS.pack(8, own, 8, peer) if own < peer else _FLOCKS.pack(8, peer, 8, own)


def _prefixed(size: int, value: Buffer) -> bytes:
    if len(value) != size:
        raise LocalProtocolError(f"an input of key derivation has {len(value)} bytes, not {size}")
    return bytes((size,)) + value
