"""Which mask a tunnel's datagrams wear, and where its key comes from.

The keeper derives the key from what it reads (that of a shroud from the shared secret; the one of
release 0.9.20 has a file of its own) and sends it to purgatory-tx and purgatory-rx, which
put the mask on and take it off. They never learn the secret.
"""

from __future__ import annotations

from pathlib import Path

from chancel.crypto.kdf import peer_shroud_key
from chancel.crypto.suite import Suite
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.encapsulation import Encapsulation
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.masking import Mask
from chancel.protocol.messages import InstallMask
from chancel.protocol.shroud import Shroud
from chancel.vault.files import SecretFile


def is_masked(settings: TunnelSettings) -> bool:
    """Whether the tunnel has a mask: without its key nothing is sent and nothing understood."""
    return settings.shroud or bool(settings.encapsulation)


def sources(
    settings: TunnelSettings, suite: Suite, now: float
) -> tuple[SecretSource, MaskKeys | None]:
    """The source of the shared secret for the machine that makes the traffic keys, and of the
    mask's key, if there is a mask.
    """
    secret = SecretFile(Path(settings.secret))
    if settings.encapsulation:
        return secret, MaskKeys(SecretFile(Path(settings.encapsulation)), bytes, now)
    if not settings.shroud:
        return secret, None
    keys = MaskKeys(secret, lambda revealed: peer_shroud_key(suite, revealed, settings.flocks), now)
    return keys, keys


def make_mask(settings: TunnelSettings, command: InstallMask, suite: Suite) -> Mask:
    """The tunnel's mask under this key."""
    if settings.encapsulation:
        return Encapsulation(command.key, suite)
    return Shroud(command.key, suite)
