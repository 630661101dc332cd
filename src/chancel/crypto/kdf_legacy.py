"""Key derivation of release 0.9.20 (protocol section 15), where it differs from ``kdf``.

There are no flocks in base keys, one base key serves the traffic of both directions, and no randoms
go into a traffic key. Offer keys are derived alike.
"""

from __future__ import annotations

from typing import Final

from chancel.crypto.kdf import TRAFFIC_LABEL, KeySchedule, Purpose, TrafficInputs
from chancel.crypto.suite import KEY_BYTES, KeyedKmac256, Suite
from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer, Flocks, SessionKey

ENCAPSULATION_LABEL: Final = b"SANCTUM.ENCAP.KDF"

_TRAFFIC = b"SANCTUM.KEY.TRAFFIC.KDF"
_LABELS = {
    Purpose.PEER_OFFER: b"SANCTUM.KEY.OFFER.KDF",
    Purpose.TRAFFIC_RX: _TRAFFIC,
    Purpose.TRAFFIC_TX: _TRAFFIC,
}


def base_key(suite: Suite, purpose: Purpose, secret: Buffer, flocks: Flocks) -> bytes:
    """Return the 32-byte key of one purpose under one secret; flocks are no input.

    Raises ``LocalProtocolError`` for a purpose that this release does not have.
    """
    del flocks
    label = _LABELS.get(purpose)
    if label is None:
        raise LocalProtocolError(f"release 0.9 has no key for {purpose.name}")
    return suite.kmac256(secret, b"", KEY_BYTES, label)


def traffic_key(suite: Suite, base: Buffer, inputs: TrafficInputs) -> SessionKey:
    """Return the traffic key of one direction; the randoms are no input."""
    return SessionKey(suite.kmac256(base, inputs.encode(), KEY_BYTES, TRAFFIC_LABEL))


def encapsulation_masks(suite: Suite, key: Buffer) -> KeyedKmac256:
    """Return what makes, of an outer header, the bytes that hide the head of a datagram behind."""
    return suite.keyed_kmac256(key, ENCAPSULATION_LABEL)


LEGACY: Final = KeySchedule(base_key, traffic_key)
