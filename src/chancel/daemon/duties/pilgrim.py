"""pilgrim: makes the keys of a one-way sender.

In: nothing. Out: the lane of announcements (key offers) to purgatory-tx, keys to bless on a link
that nobody else has, and the key of a mask to purgatory-tx. It is the one process of its group that
reads the shared secret; it sees no traffic.
"""

from __future__ import annotations

from functools import partial

from chancel.crypto.system import SystemSuite
from chancel.daemon.keeping import KeeperDuty
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.pilgrim import Pilgrim


def _machine(
    settings: TunnelSettings, suite: SystemSuite, secret: SecretSource, now: float, wall: float
) -> Pilgrim:
    return Pilgrim(suite, secret, now, wall, profile=settings.protocol)


make = partial(KeeperDuty, machine=_machine)
