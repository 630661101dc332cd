"""Which cathedral is the current one, and which comes after it (cathedral section 6).

All that are known form a ring: those that a cathedral told of last, in its order, then those of the
configuration, then what is left of earlier messages. When the current one fails the next takes its
place; there is no way back to the first, so one that comes and goes makes nobody follow it.

A *remembrance* names its sender first, under the address that it thinks it has. That may be another
than the one we use, so the sender's slot counts as the current one's place in the ring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from chancel.wire.remembrance import SLOTS
from chancel.wire.types import Address

MAX_CONFIGURED: Final = 32
"""Addresses of configured cathedrals that are kept: names may have more of them than anybody needs,
and whoever answers for a name decides how many."""


class Choice:
    """The cathedrals that are known, and the current one: ``None`` until :meth:`choose`."""

    def __init__(self) -> None:
        self.current: Address | None = None
        self._configured: tuple[Address, ...] = ()
        self._table: list[Address] = []
        self._told = 0
        self._place: Address | None = None

    def __repr__(self) -> str:
        return f"<Choice {self.current or 'none'} of {len(self._ring())}>"

    @property
    def configured(self) -> tuple[Address, ...]:
        """Those of the configuration, in its order."""
        return self._configured

    def configure(self, cathedrals: Iterable[Address]) -> tuple[Address, ...]:
        """Replace those of the configuration; returns the ones that were not known before."""
        known = {*self._ring(), self.current}
        self._configured = tuple(dict.fromkeys(cathedrals))[:MAX_CONFIGURED]
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

    def choose(self, cathedral: Address) -> None:
        """Make this the current one."""
        self.current = self._place = cathedral

    def next(self) -> Address | None:
        """The one after the current one, or the first if there is none; ``None``: no other."""
        ring = self._ring()
        start = ring.index(self._place) + 1 if self._place in ring else 0
        for each in ring[start:] + ring[:start]:
            if each not in (self.current, self._place):
                return each
        return None

    def _overwrite(self, cathedrals: Sequence[Address]) -> None:
        self._table[: len(cathedrals)] = cathedrals
        del self._table[SLOTS:]
        self._told = len(cathedrals)

    def _ring(self) -> list[Address]:
        told, older = self._table[: self._told], self._table[self._told :]
        return list(dict.fromkeys([*told, *self._configured, *older]))


def is_a_host(address: Address) -> bool:
    """Whether it can be the address of one machine: no broadcast, and none of a group of many."""
    host = ipaddress.ip_address(address.host)
    return not (host.is_multicast or host.is_unspecified or host.is_reserved)
