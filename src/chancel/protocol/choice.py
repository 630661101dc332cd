"""Which cathedral is the current one, and which comes after it (cathedral section 6).

All that are known form a ring: those that a cathedral told of last, in its order, then those of the
configuration, then what is left of earlier messages. When the current one fails the next takes its
place; there is no way back to the first, so one that comes and goes makes nobody follow it.

Whoever tells of others may lie: name victims, or itself 32 times. So after three in a row that were
only told of, and never said a word, it is the turn of one that is *trusted*: a configured one, or
one that was heard before. Then they go on where they were.

A *remembrance* names its sender first, under the address that it thinks it has. That may be another
than the one we use, so the sender's slot counts as the current one's place in the ring.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from chancel.wire.remembrance import SLOTS
from chancel.wire.types import Address

MAX_CONFIGURED: Final = 32
"""Addresses of configured cathedrals that are kept: names may have more of them than anybody needs,
and whoever answers for a name decides how many."""

MAX_DOUBTFUL: Final = 3
"""So many in a row are tried of which nobody has ever heard."""

_JUDGED: Final = 256
"""Hosts that are judged once: a cathedral tells of the same ones again and again."""

MAX_HEARD: Final = SLOTS
"""Cathedrals that are remembered to have answered: as many as a message can name."""


class Choice:
    """The cathedrals that are known, and the current one: ``None`` until :meth:`choose`."""

    def __init__(self) -> None:
        self.current: Address | None = None
        self._configured: tuple[Address, ...] = ()
        self._table: list[Address] = []
        self._told = 0
        self._ring: list[Address] = []
        self._heard: dict[Address, None] = {}
        self._place: Address | None = None
        self._trusted_place: Address | None = None
        self._doubtful = 0
        self._left: dict[Address, None] = {}

    def __repr__(self) -> str:
        return f"<Choice {self.current or 'none'} of {self.count}>"

    @property
    def count(self) -> int:
        """How many are known."""
        return len(self._ring)

    @property
    def configured(self) -> tuple[Address, ...]:
        """Those of the configuration, in its order."""
        return self._configured

    def configure(self, cathedrals: Iterable[Address]) -> tuple[Address, ...]:
        """Replace those of the configuration; returns the ones that were not known before."""
        known = {*self._ring, self.current}
        self._configured = tuple(dict.fromkeys(cathedrals))[:MAX_CONFIGURED]
        self._join()
        return tuple([each for each in self._configured if each not in known])

    def recall(self, cathedrals: Sequence[Address]) -> None:
        """Take what a file remembers of earlier runs."""
        self._overwrite(cathedrals)

    def told_untrusted(self, cathedrals: Sequence[Address]) -> tuple[Address, ...]:
        """Take the current cathedral's message; returns what is worth remembering of it.

        Slots after its last address keep what they have (section 6.2).
        """
        usable = tuple([each for each in cathedrals if is_a_host(each)])
        if usable:
            self._overwrite(usable)
            self._place = cathedrals[0]
        return usable

    def trusts(self, cathedral: Address) -> bool:
        """Whether it is configured, or was heard since we began."""
        return cathedral in self._configured or cathedral in self._heard

    def heard(self) -> bool:
        """The current one said something authentic; whether that makes it a trusted one."""
        current = self.current
        if current is None:
            return False
        is_news = not self.trusts(current)
        self._heard.pop(current, None)
        if len(self._heard) >= MAX_HEARD:
            del self._heard[next(iter(self._heard))]
        self._heard[current] = None
        if is_news:
            self._trusted_place = current
            self._doubtful = 0
        return is_news

    def choose(self, cathedral: Address) -> None:
        """Make this the current one."""
        if not self.trusts(cathedral):
            self._doubtful += 1
            self._place = cathedral
        else:
            if self._doubtful < MAX_DOUBTFUL:  # or those would begin anew behind it
                self._place = cathedral
            self._trusted_place = cathedral
            self._doubtful = 0
        self.current = cathedral

    def next(self) -> Address | None:
        """The one after the current one, or the first if there is none; ``None``: no other."""
        if self._doubtful >= MAX_DOUBTFUL:
            trusted = list(dict.fromkeys([*self._configured, *self._heard]))
            for each in _after(self._trusted_place, trusted):
                return each
        for each in _after(self._place, self._ring):
            if each not in (self.current, self._place):
                return each
        return None

    def elsewhere(self) -> Address | None:
        """One to take the place of the current one although that answers: a trusted one if there is
        one, and the one that was left so the longest ago. Each cathedral tells of others in an
        order of its own, so going on by it one could go to and fro between two for ever.
        """
        if self.current is not None:
            self._left.pop(self.current, None)
            if len(self._left) >= MAX_HEARD:
                del self._left[next(iter(self._left))]
            self._left[self.current] = None
        trusted = [*self._configured, *self._heard]
        ring = _after(self._place, self._ring)
        order = {each: number for number, each in enumerate(self._left)}
        others = [each for each in dict.fromkeys([*trusted, *ring]) if each != self.current]
        return min(others, key=lambda each: order.get(each, -1), default=None)

    def _overwrite(self, cathedrals: Sequence[Address]) -> None:
        self._table[: len(cathedrals)] = cathedrals
        del self._table[SLOTS:]
        self._told = len(cathedrals)
        self._join()

    def _join(self) -> None:
        told, older = self._table[: self._told], self._table[self._told :]
        self._ring = list(dict.fromkeys([*told, *self._configured, *older]))


def _after(place: Address | None, ring: list[Address]) -> list[Address]:
    """All of a ring, from behind this place on."""
    start = ring.index(place) + 1 if place in ring else 0
    return ring[start:] + ring[:start]


def is_a_host(address: Address) -> bool:
    """Whether it can be the address of one machine: no broadcast, and none of a group of many."""
    return _is_a_host(address.host)


@functools.lru_cache(maxsize=_JUDGED)
def _is_a_host(name: str) -> bool:
    host = ipaddress.ip_address(name)
    return not (host.is_multicast or host.is_unspecified or host.is_reserved)
