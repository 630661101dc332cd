"""Opening an ambry: the secret that a cathedral hands out wrapped (cathedral section 8.5)."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.vault.secret import Secret
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.drop import Drop
from chancel.wire.types import Buffer, Flocks


def open_ambry_untrusted(
    suite: Suite, kek: Buffer, flocks: Flocks, tunnel: TunnelId, ambry: AmbryBody, wall: float
) -> Secret:
    """Return the 32 bytes that the tunnel's other end gets too.

    ``kek`` is the device's own key (32 bytes). Whether the generation is a new one is not looked
    at. Raises ``RemoteProtocolError``: ``AMBRY_TUNNEL`` (it is for another tunnel),
    ``AMBRY_BAD_TAG`` (also where the bundle was made for another KEK), ``AMBRY_EXPIRED``.
    """
    if ambry.tunnel != tunnel:
        raise RemoteProtocolError(Drop.AMBRY_TUNNEL)
    wrapping = Wrapping(suite, ambry.header, flocks)
    try:
        secret = wrapping.unwrap(derived_kek(suite, kek, flocks), tunnel, ambry.wrapped)
    except InvalidTag:
        raise RemoteProtocolError(Drop.AMBRY_BAD_TAG) from None
    if ambry.header.expires_at < wall:
        raise RemoteProtocolError(Drop.AMBRY_EXPIRED)
    return Secret(secret)
