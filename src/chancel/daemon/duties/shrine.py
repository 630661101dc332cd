"""shrine: takes the keys that a one-way sender announces.

In: the lane of key offers from purgatory-rx, and the board of confess. Out: keys to confess on a
link that nobody else has, and the key of a mask to purgatory-rx. It is the one process of its group
that reads the shared secret; it sees no traffic.
"""

from __future__ import annotations

from functools import partial

from chancel.crypto.system import SystemSuite
from chancel.daemon.keeping import KeeperDuty
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.shrine import Shrine


def _machine(
    settings: TunnelSettings, suite: SystemSuite, secret: SecretSource, now: float, wall: float
) -> Shrine:
    del wall
    return Shrine(suite, secret, now, profile=settings.protocol)


make = partial(KeeperDuty, machine=_machine)
