"""Where the cathedrals of a group's tunnels are: their names are looked up, and looked up again.

The keeper has no resolver and no network, so the guardian does that, and tells it. That there is no
DNS yet, or none any more, keeps no tunnel from running: what was known before still is.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence

from chancel.daemon.config_types import Place
from chancel.daemon.logs import RateLimit
from chancel.daemon.lookup import ROUND_LIMIT_S, Lookup, Resolve, Word, resolve
from chancel.daemon.loop import Loop
from chancel.daemon.publish import earliest
from chancel.daemon.sandbox_filter import Program
from chancel.wire.types import Address

AGAIN_S = 60.0
"""A name is looked up again after this time: one whose TTL is longer comes from a cache."""

SOON_S = 10.0
"""The same while a name is unknown, or a cathedral silent, which may have moved."""

PATIENCE_S = 2.0
"""A tunnel is told of its first addresses once all its names have answered, so that the first line
of its file comes first; or after this time, as a name may take 30 seconds to have no answer."""

TOLD_INTERVAL_S = 60.0

_REASONS = {
    socket.EAI_NONAME: "there is no such name",
    socket.EAI_NODATA: "it has no IPv4 address",
    socket.EAI_ADDRFAMILY: "it has no IPv4 address",
    socket.EAI_AGAIN: "no name server answers",
    socket.EAI_FAIL: "the name server refuses",
}

log = logging.getLogger("chancel.daemon")


class CathedralNames:
    """The names of all tunnels. ``tell`` is told all addresses of a tunnel's cathedrals, in the
    order of its file, whenever they changed; ``is_silent`` says whether a tunnel misses its own.
    ``program`` is the filter of the process that looks.
    """

    def __init__(
        self,
        loop: Loop,
        tell: Callable[[int, list[Address]], None],
        is_silent: Callable[[int], bool],
        resolve_name: Resolve = resolve,
        program: Program | None = None,
    ) -> None:
        self._lookup = Lookup(loop, self._hear, self._ended, resolve_name, program)
        self._tell = tell
        self._is_silent = is_silent
        self._places: dict[int, tuple[Place, ...]] = {}
        self._told: dict[int, list[Address]] = {}
        self._known: dict[str, tuple[str, ...]] = {}
        self._turns: dict[str, None] = {}
        """All names: whose turn is longest ago comes first, so one that hangs holds none up."""
        self._awaited: dict[str, int | None] = {}
        """Those of the round that have no address yet, with the reason, if it is known."""
        self._has_joined = False
        self._patient_until = 0.0
        self._looked_at = 0.0
        self._look_again_at = 0.0
        self._limit = RateLimit(TOLD_INTERVAL_S)

    def add(self, tunnel: int, places: Sequence[Place], now: float) -> None:
        """Look after a tunnel's cathedrals, if any of them has a name; :meth:`wake` is due."""
        if all(place.address for place in places):
            return
        self._places[tunnel] = tuple(places)
        self._told[tunnel] = [place.address for place in places if place.address]
        hosts = dict.fromkeys(place.host for place in places if not place.address)
        joined = {name: None for name in hosts if name not in self._turns}
        self._turns = joined | self._turns
        self._has_joined |= bool(joined)
        self._look_again_at = now
        self._tell_changes()

    def remove(self, tunnel: int) -> None:
        """Forget a tunnel."""
        self._places.pop(tunnel, None)
        self._told.pop(tunnel, None)
        names = _names(*self._places.values())
        self._known = {name: found for name, found in self._known.items() if name in names}
        self._turns = dict.fromkeys(name for name in self._turns if name in names)

    def wake_at(self) -> float | None:
        """When something is due; never without names."""
        if not self._lookup.is_running or self._has_joined:
            return self._look_again_at if self._places else self._lookup.wake_at()
        patient_until = self._patient_until if self._is_patient else None
        return earliest(self._lookup.wake_at(), patient_until)

    def wake(self, now: float) -> None:
        """Look names up again, if it is time to."""
        self._lookup.wake(now)
        if self._is_patient and now >= self._patient_until:
            self._lose_patience()
        if self._has_joined:
            self._lookup.cut_short()  # it may hang with other names
        if not self._places or self._lookup.is_running or now < self._look_again_at:
            return
        self._look_again_at = now + SOON_S
        names = self._due(now)
        if names:
            self._look(names, now)

    def close(self) -> None:
        """Stop looking."""
        self._lookup.close()

    @property
    def _is_patient(self) -> bool:
        """Whether tunnels wait for the rest of their names."""
        return self._patient_until > 0.0

    def _due(self, now: float) -> set[str]:
        if now >= self._looked_at + AGAIN_S:
            self._looked_at = now
            return set(self._turns)
        silent = [places for tunnel, places in self._places.items() if self._is_silent(tunnel)]
        return (self._turns.keys() - self._known.keys()) | _names(*silent)

    def _look(self, names: set[str], now: float) -> None:
        ordered = [name for name in self._turns if name in names]
        self._has_joined = False
        self._awaited = dict.fromkeys(ordered)
        self._patient_until = now + PATIENCE_S
        try:
            self._lookup.begin(ordered, now)
        except OSError as error:
            self._warn("names can't be looked up error=%s", error)

    def _hear(self, said: Sequence[Word]) -> None:
        for word in said:
            if word.name not in self._awaited or word.name not in self._turns:
                continue  # of a tunnel that left, or not asked for
            if word.addresses:
                self._known[word.name] = word.addresses
                del self._awaited[word.name]
            elif word.is_last:
                self._awaited[word.name] = word.error
            else:
                del self._turns[word.name]
                self._turns[word.name] = None
        self._tell_changes()

    def _ended(self, in_time: bool) -> None:
        """A round is over."""
        for name, error in self._awaited.items() if in_time else ():
            if name in self._turns:
                reason = f"no answer within {ROUND_LIMIT_S:.0f} s"
                if error is not None:
                    reason = _REASONS.get(error, f"error {error}")
                self._warn("name of a cathedral can't be looked up name=%s reason=%s", name, reason)
        self._lose_patience()

    def _lose_patience(self) -> None:
        self._patient_until = 0.0
        self._tell_changes()

    def _tell_changes(self) -> None:
        unheard = {name for name, error in self._awaited.items() if error is None}
        waiting = unheard - self._known.keys() if self._is_patient else set()
        for tunnel, places in self._places.items():
            addresses = self._addresses(tunnel)
            if addresses != self._told[tunnel] and waiting.isdisjoint(_names(places)):
                self._told[tunnel] = addresses
                self._tell(tunnel, addresses)

    def _addresses(self, tunnel: int) -> list[Address]:
        """What is known by now, each once."""
        found: dict[Address, None] = {}
        for place in self._places[tunnel]:
            for host in self._known.get(place.host, ()) if not place.address else (place.host,):
                found[Address(host, place.port)] = None
        return list(found)

    def _warn(self, sentence: str, *what: object) -> None:
        self._limit.log(log, logging.WARNING, (sentence, *what), time.monotonic(), sentence, *what)


def _names(*places: Iterable[Place]) -> set[str]:
    return {place.host for each in places for place in each if not place.address}
