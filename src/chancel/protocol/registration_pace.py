"""When the current cathedral is told about us: infos, and messages of NAT detection.

An info goes every 5 s, and sooner if there is news, but hardly ever two within 3 s. Two things are
worth more than that.

*The way to the peer.* A cathedral judges our NAT by the messages that come 15 s or more after it
first heard of an end or of its restart, and announces the peer's own address with the answer to an
info after it has judged both ends (cathedral section 4.4). Nothing tells us when, so while we wait
for it infos go as often as they may, and one is timed to come right after those 15 s. From then on
a message of NAT detection goes ahead of an info, not after it: only so is the answer to that info
already the one we wait for. The wait begins again when the peer comes, or is restarted. Where it is
in vain (two ends that can't meet) it ends after a while.

*A new receive key.* Until a cathedral knows its SPI it drops all that is for it. The limit of 3 s
is only for what a cathedral passes on to others (section 4.4.6): an info that comes too soon counts
and is answered, and changes nothing for the next. So one goes out of turn, and again in its turn.
A first key is a sign that the peer has just come, too, so the answer to such an info says from when
to wait for its address.
"""

from __future__ import annotations

import enum
import math
from typing import Final

from chancel.wire.types import Address, Spi

INFO_INTERVAL_S: Final = 5.0
"""From one info to the next (cathedral section 2.2)."""

INFO_SPACING_S: Final = 3.2
"""No two infos that must be passed on are closer: a cathedral does it once in 3 s (section 4.4.6),
and the way there may take the second less long than the first."""

OUT_OF_TURN_S: Final = 10.0
"""Infos out of turn are no closer than this: a peer can ask for as many keys as it likes."""

SETTLED_S: Final = 15.6
"""From when a cathedral has the first info of an end to the one that is timed: 15 s, what the ways
there may differ, and :data:`NAT_LEAD_S`. One that counts whole seconds is ready no later than an
exact one. When it has it we know from its first word, if there is one: at our start a datagram may
take long to leave the machine."""

NAT_LEAD_S: Final = 0.4
"""A message of NAT detection is so much ahead of its info that it is ahead of the peer's, too,
which is timed by the same moment as the peer saw it."""

WAIT_S: Final = 40.0
"""How long infos hurry for the peer's address: it comes 16 to 21 s after the peer does, with a peer
that hurries less than we do."""

_AWAY: Final = 3
"""More infos in a row without an answer than this: the peer is not registered."""

Spis = tuple[Spi | None, Spi | None]
"""Of the active receive key, and of the one that waits for its first use."""


class _Peer(enum.Enum):
    """What a cathedral has last said of the peer."""

    ABSENT = enum.auto()
    RELAYED = enum.auto()
    ANNOUNCED = enum.auto()


class Pace:
    """Times what goes to one cathedral after another. ``detects_nat``: with NAT detection.

    What is sent is told by :meth:`info_sent`, :meth:`sent_out_of_turn` and :meth:`nat_sent`.
    """

    def __init__(self, now: float, *, detects_nat: bool) -> None:
        self._detects_nat = detects_nat
        self._cathedral: Address | None = None
        self._sent: dict[Address, float] = {}
        self._told: tuple[Spi | None, ...] = (None,)
        self._begins = True
        self._arriving = False
        self._turn_at = self._planned_at = now
        self._as_planned = True
        self._next_at = self._out_of_turn_at = now
        self._nat_at = math.inf
        self._nat_ahead = False
        self._settled_at = self._wait_until = -math.inf
        self._peer = _Peer.ABSENT
        self._unanswered = 0

    def choose(self, cathedral: Address, now: float) -> None:
        """This is the current cathedral from now on."""
        self._cathedral = cathedral
        self._peer = _Peer.ABSENT
        self.restart(now)

    def restart(self, now: float) -> None:
        """With the next info the current cathedral begins anew with us."""
        self._begins = True
        self._arriving = self._nat_ahead = False
        self._nat_at = math.inf
        self.announce(now)

    def announce(self, now: float) -> None:
        """There is news: the next info is due as soon as it may be."""
        self._next_at = min(self._next_at, now)

    def info_at(self, *, overdue: bool) -> float:
        """When an info is due in its turn. ``overdue``: one more is wanted as soon as it may be."""
        if self._cathedral is None:
            return math.inf
        soonest = self._sent.get(self._cathedral, -math.inf) + INFO_SPACING_S
        return soonest if overdue else max(self._next_at, soonest)

    def out_of_turn_at(self, spis: Spis) -> float:
        """When an info out of turn is due, with these SPIs: infinity if they were told."""
        used, soon = spis
        if self._begins or (used in self._told and soon in self._told):
            return math.inf
        return self._out_of_turn_at

    @property
    def nat_at(self) -> float:
        """When a message of NAT detection is due that goes ahead of the next info."""
        return self._nat_at

    @property
    def nat_follows(self) -> bool:
        """Whether one has to go right after the next info."""
        return self._detects_nat and not self._nat_ahead

    def info_sent(self, spis: Spis, now: float) -> None:
        """An info went to the current cathedral in its turn, with these SPIs."""
        assert self._cathedral is not None
        recent = {to: at for to, at in self._sent.items() if at > now - INFO_SPACING_S}
        self._sent = recent | {self._cathedral: now}
        self._told = (None, *spis)
        self._turn_at = now
        self._as_planned = now >= self._planned_at
        self._unanswered += 1
        if self._unanswered > _AWAY:
            self._peer = _Peer.ABSENT
        self._arriving = self._begins
        if self._begins:
            self._begins = False
            self._settled_at = -math.inf
            self._wait_from(now)
        self._nat_ahead = False
        self._next_at = math.inf
        self._schedule(now)

    def sent_out_of_turn(self, spis: Spis, now: float) -> None:
        """An info went out that says what the next in its turn will say, too."""
        self._told = (None, *spis)
        self._as_planned = False
        self._out_of_turn_at = now + OUT_OF_TURN_S

    def nat_sent(self) -> None:
        """A message of NAT detection went ahead of the next info."""
        self._nat_at = math.inf
        self._nat_ahead = True

    def heard(self, now: float) -> None:
        """The current cathedral said something: it has what was sent."""
        if self._arriving:
            self._arriving = False
            self._settled_at = now + SETTLED_S
            self._schedule(now)

    def answered(self, now: float, *, directly: bool) -> None:
        """The last info was answered; ``directly``: with an address of the peer's own."""
        before, self._peer = self._peer, _Peer.ANNOUNCED if directly else _Peer.RELAYED
        self._unanswered = 0
        if before is self._peer or self._begins:
            return
        if not directly:
            self._wait_from(now)
        self._schedule(now)

    def _wait_from(self, at: float) -> None:
        """An end became known to the cathedral shortly before that time.

        If we wait already and it went as planned, the turns that are planned are right for both.
        """
        if not self._as_planned or at >= self._settled_at:
            self._settled_at = at + SETTLED_S
        self._wait_until = at + WAIT_S

    def _schedule(self, now: float) -> None:
        """Set when the next turn comes; news that is due earlier stays due."""
        self._nat_at = math.inf
        at = self._turn_at + INFO_INTERVAL_S
        if self._detects_nat and self._peer is not _Peer.ANNOUNCED and now < self._wait_until:
            at = self._turn_at + INFO_SPACING_S
            if self._settled_at - INFO_SPACING_S < at < self._settled_at:
                at = self._settled_at
            if at >= self._settled_at:
                self._nat_at = at - NAT_LEAD_S
        self._planned_at = at
        self._next_at = min(self._next_at, at)
