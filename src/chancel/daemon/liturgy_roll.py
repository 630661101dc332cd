"""Which devices of a liturgy have a tunnel: whoever was named gets one, in his turn.

A cathedral may say what it likes, and so may whoever took the process over that listens to it. So
tunnels come and go one at a time, a few in a second; one that has just begun stays for a while, and
one that is alive stays for as long as it is, whoever is named (cathedral section 7.4). What is
wanted is a set, not a list of what happened: a thousand joins and leaves between two steps cost
nothing. While no answers come nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from chancel.daemon.config_liturgy import LAST_DEVICE

STEP_S: Final = 0.125
"""Between two tunnels that come or go: 254 of them are there after half a minute, and a flood takes
a small part of the guardian's time."""

SILENT_S: Final = 30.0
"""One through which nothing came for so long goes if its device isn't named; one that has just
begun has as long."""

LOOK_S: Final = 5.0
"""How often those are looked at that aren't named any more: a cathedral answers as often."""

RETRY_S: Final = 30.0
"""A tunnel that can't be made now is tried again after this time."""


class Roll:
    """``begin`` makes the tunnel to a device, and says whether it could; ``end`` takes it down.

    ``is_alive`` says whether its tunnel has both keys, and something came since that time.
    """

    def __init__(
        self,
        own: int,
        begin: Callable[[int], bool],
        end: Callable[[int], None],
        is_alive: Callable[[int, float], bool],
    ) -> None:
        self._others = frozenset(range(1, LAST_DEVICE + 1)) - {own}
        self._begin = begin
        self._end = end
        self._is_alive = is_alive
        self._begun_at: dict[int, float] = {}
        self._retry_at: dict[int, float] = {}
        self._named: frozenset[int] = frozenset()
        self._answered_at = self._judged_at = 0.0
        self._next_at = -math.inf
        self._look_at = -math.inf

    @property
    def missing(self) -> frozenset[int]:
        """Devices that shall have a tunnel, and have none."""
        return self._named - self._begun_at.keys()

    def told(self, named: frozenset[int], answered_at: float) -> None:
        """An answer that came at that time named these, ours and impossible ones perhaps."""
        self._named = named & self._others
        self._answered_at = answered_at
        self._retry_at = {each: at for each, at in self._retry_at.items() if each in self._named}

    def wake_at(self) -> float | None:
        """When :meth:`wake` is due; ``None`` while everybody has what he shall have."""
        tries = [self._retry_at.get(device, -math.inf) for device in self.missing]
        looks = [self._look_at] if self._left() else []
        return max(self._next_at, min(tries + looks)) if tries or looks else None

    def wake(self, now: float) -> None:
        """Take one step, if there is one and its time has come."""
        if now < self._next_at:
            return
        for device in sorted(self.missing):
            if now >= self._retry_at.get(device, -math.inf):
                self._next_at = now + STEP_S
                self._try(device, now)
                return
        if now < self._look_at:
            return
        if self._answered_at > self._judged_at:
            for device in sorted(self._left()):
                if self._may_go(device, now):
                    self._next_at = now + STEP_S
                    del self._begun_at[device]
                    self._end(device)
                    return
            self._judged_at = self._answered_at
        self._look_at = now + LOOK_S

    def _try(self, device: int, now: float) -> None:
        if self._begin(device):
            self._begun_at[device] = now
            self._retry_at.pop(device, None)
        else:
            self._retry_at[device] = now + RETRY_S

    def _left(self) -> set[int]:
        """Devices with a tunnel that aren't named any more."""
        return self._begun_at.keys() - self._named

    def _may_go(self, device: int, now: float) -> bool:
        since = now - SILENT_S
        return self._begun_at[device] <= since and not self._is_alive(device, since)
