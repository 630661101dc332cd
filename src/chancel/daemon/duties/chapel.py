"""chapel: makes the keys.

In: the lane of offers from purgatory-rx, and the board of confess. Out: the lane of offers to
purgatory-tx, and keys to bless and confess on links that nobody else has; the key of a mask to
purgatory-tx and purgatory-rx. It is the one process that reads the shared secret; it sees no
traffic.
"""

from __future__ import annotations

from functools import partial

from chancel.crypto.system import SystemSuite
from chancel.daemon.keeping import KeeperDuty
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.exchange import Exchange


def _machine(
    settings: TunnelSettings, suite: SystemSuite, secret: SecretSource, now: float, wall: float
) -> Exchange:
    return Exchange(
        suite,
        secret,
        now,
        wall,
        peer_configured=settings.peer is not None,
        flocks=settings.flocks,
        spi_prefix=settings.spi_prefix,
        profile=settings.protocol,
    )


make = partial(KeeperDuty, machine=_machine)
