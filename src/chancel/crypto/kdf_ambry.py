"""How the secret of a tunnel is wrapped for one device: an ambry (a wrapped shared secret).

A device has a key of its own, its KEK (key encryption key). From it and the two flocks comes the
*derived KEK*, the same in both directions; from that and everything in the bundle's header a key
for one entry, which seals one secret. Whoever hands bundles out has none of these keys.

Here the order of flocks counts, own first, while the derived KEK sorts them. Domains are cleared.
"""

from __future__ import annotations

import struct
from typing import Final

from chancel.crypto.kdf import Purpose, base_key, without_domains
from chancel.crypto.suite import KEY_BYTES, Suite
from chancel.wire.ambry import SEED_BYTES, Header
from chancel.wire.types import Buffer, Flocks

LABEL: Final = b"SANCTUM.AMBRY.KDF"

_NONCE = bytes(11) + b"\x01"
"""Fixed, and safe only because each entry's key is new."""
_TUNNEL = struct.Struct("!H")
_KEY_INPUTS = struct.Struct(f"!B{SEED_BYTES}sBQBQBIB")
"""All but the tunnel, which ends them; each value behind its length."""
_ASSOCIATED = struct.Struct(f"!HQQI{SEED_BYTES}s")
"""All but the tunnel, which begins it."""


def derived_kek(suite: Suite, kek: Buffer, flocks: Flocks) -> bytes:
    """Return the 32 bytes that stand for a device's KEK between these flocks, in either order."""
    return base_key(suite, Purpose.KEK_UNWRAP, kek, without_domains(flocks))


class Wrapping:
    """Wraps and unwraps under one header, for devices of the flock ``own`` towards ``peer``.

    ``derived`` is a :func:`derived_kek` of the device whose entry it is, ``tunnel`` as that device
    names it.
    """

    __slots__ = ("_associated", "_inputs", "_suite")

    def __init__(self, suite: Suite, header: Header, flocks: Flocks) -> None:
        own, peer = without_domains(flocks)
        self._suite = suite
        self._inputs = _KEY_INPUTS.pack(
            *(SEED_BYTES, header.seed, 8, own, 8, peer, 4, header.generation, _TUNNEL.size)
        )
        self._associated = _ASSOCIATED.pack(
            *(header.expires, own, peer, header.generation, header.seed)
        )

    def wrap(self, derived: Buffer, tunnel: int, secret: Buffer) -> bytes:
        """Return a 32-byte secret sealed for one device: 48 bytes, the tag last."""
        name = _TUNNEL.pack(tunnel)
        cipher = self._suite.aead(self._key(derived, name))
        return cipher.encrypt(_NONCE, secret, name + self._associated)

    def unwrap(self, derived: Buffer, tunnel: int, wrapped: Buffer) -> bytes:
        """Return the 32-byte secret of an entry; raises ``cryptography``'s ``InvalidTag``."""
        name = _TUNNEL.pack(tunnel)
        cipher = self._suite.aead(self._key(derived, name))
        return cipher.decrypt(_NONCE, wrapped, name + self._associated)

    def _key(self, derived: Buffer, name: bytes) -> bytes:
        return self._suite.kmac256(derived, self._inputs + name, KEY_BYTES, LABEL)
