"""Where the cathedrals of a group's tunnels are: their names are looked up, and looked up again.

The keeper has no resolver and no network, so the guardian does that, and tells it. That there is no
DNS yet, or none any more, keeps no tunnel from running: what was known before still is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from chancel.daemon.config_types import Place
from chancel.daemon.logs import RateLimit
from chancel.daemon.lookup import Found, Lookup, Resolve, resolve
from chancel.daemon.loop import Loop
from chancel.wire.types import Address

AGAIN_S = 60.0
"""A name is looked up again after this time: one whose TTL is longer comes from a cache."""

SOON_S = 10.0
"""The same while a name is unknown, or a cathedral silent, which may have moved."""

TOLD_INTERVAL_S = 60.0

log = logging.getLogger("chancel.daemon")


class CathedralNames:
    """The names of all tunnels. ``tell`` is told all addresses of a tunnel's cathedrals, in the
    order of its file, whenever they changed; ``is_silent`` says whether a tunnel misses its own.
    """

    def __init__(
        self,
        loop: Loop,
        tell: Callable[[int, list[Address]], None],
        is_silent: Callable[[int], bool],
        resolve_name: Resolve = resolve,
    ) -> None:
        self._lookup = Lookup(loop, self._take, resolve_name)
        self._tell = tell
        self._is_silent = is_silent
        self._places: dict[int, tuple[Place, ...]] = {}
        self._told: dict[int, list[Address]] = {}
        self._known: Found = {}
        self._looked_at = 0.0
        self._look_again_at = 0.0
        self._limit = RateLimit(TOLD_INTERVAL_S)

    def add(self, tunnel: int, places: Sequence[Place], now: float) -> None:
        """Look after a tunnel's cathedrals, if any of them has a name."""
        if all(place.address for place in places):
            return
        self._places[tunnel] = tuple(places)
        self._told[tunnel] = self._addresses(tunnel)
        if not self._lookup.is_running:
            self._look(now)

    def remove(self, tunnel: int) -> None:
        """Forget a tunnel."""
        self._places.pop(tunnel, None)
        self._told.pop(tunnel, None)
        names = self._names()
        self._known = {name: found for name, found in self._known.items() if name in names}

    def wake_at(self) -> float | None:
        """When something is due; never without names."""
        if self._lookup.is_running:
            return self._lookup.wake_at()
        return self._look_again_at if self._places else None

    def wake(self, now: float) -> None:
        """Look names up again, if it is time to."""
        self._lookup.wake(now)
        if not self._places or self._lookup.is_running or now < self._look_again_at:
            return
        self._look_again_at = now + SOON_S
        urgent = self._names() - self._known.keys() or any(map(self._is_silent, self._places))
        if urgent or now >= self._looked_at + AGAIN_S:
            self._look(now)

    def close(self) -> None:
        """Stop looking."""
        self._lookup.close()

    def _look(self, now: float) -> None:
        self._looked_at, self._look_again_at = now, now + SOON_S
        try:
            self._lookup.begin(self._names(), now)
        except OSError as error:
            self._warn("names can't be looked up error=%s", error)

    def _take(self, found: Found) -> None:
        names = self._names()
        for name in sorted(names - found.keys()):
            self._warn("name of a cathedral can't be looked up name=%s", name)
        self._known |= {name: addresses for name, addresses in found.items() if name in names}
        for tunnel in self._places:
            addresses = self._addresses(tunnel)
            if addresses != self._told[tunnel]:
                self._told[tunnel] = addresses
                self._tell(tunnel, addresses)

    def _names(self) -> set[str]:
        return {
            place.host for places in self._places.values() for place in places if not place.address
        }

    def _addresses(self, tunnel: int) -> list[Address]:
        """What is known by now, each once."""
        found: dict[Address, None] = {}
        for place in self._places[tunnel]:
            for host in self._known.get(place.host, ()) if not place.address else (place.host,):
                found[Address(host, place.port)] = None
        return list(found)

    def _warn(self, sentence: str, what: object) -> None:
        self._limit.log(log, logging.WARNING, (sentence, what), time.monotonic(), sentence, what)
