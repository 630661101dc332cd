"""chapel: makes the keys.

In: the lane of offers from purgatory-rx, and the boards of confess and heaven-tx. Out: the lane of
offers to purgatory-tx, and keys to bless and confess on links that nobody else has; the keys of
masks to purgatory-tx and purgatory-rx. It is the one process that reads secrets; it sees no
traffic. In a tunnel with cathedrals it talks to them, decides where the peer is, and writes what
they bring: the secret of an ambry, and a remembrance.
"""

from __future__ import annotations

from functools import partial

from chancel.crypto.system import SystemSuite
from chancel.daemon.keeping import KeeperDuty
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.exchange import Exchange


def make_machine(
    settings: TunnelSettings, suite: SystemSuite, secret: SecretSource, now: float, wall: float
) -> Exchange:
    """The machine of one tunnel."""
    return Exchange(
        suite,
        secret,
        now,
        wall,
        peer_configured=settings.peer is not None or settings.cathedral is not None,
        awaits_ambry=settings.cathedral is not None and bool(settings.cathedral.kek),
        flocks=settings.flocks,
        spi_prefix=settings.spi_prefix,
        profile=settings.protocol,
    )


make = partial(KeeperDuty, machine=make_machine)
