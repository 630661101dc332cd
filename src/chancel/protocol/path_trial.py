"""Finding out whether datagrams pass between us and one address of the peer, in both directions.

A *path probe* is a probe of the MTU (``graces``) in a size that discovery of the MTU never uses,
sent to this one address alone: its acknowledgement shows that what we send there arrives. Something
authentic that comes from there shows the other direction. Neither is believed without the other.

Whoever announces an address may lie, and have many of us send to a victim. So as long as nobody was
heard from there, it gets heartbeats alone, the smallest packets that open a NAT (without a key:
openers).
"""

from __future__ import annotations

import math
from typing import Final

from chancel.protocol.profile import Profile
from chancel.wire.grace import Heartbeat, MtuProbe
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Address

OPENER: Final = bytes(OVERHEAD_BYTES + 2)
"""What is tried without a key: it opens our NAT, and says nothing. As long as a heartbeat, with the
SPI that nobody has. Both ends are told of each other at one moment, and have keys at two. Nobody
waits for them: some routers give another port to whoever answers a stranger (``sim.nat``)."""

BURST_S: Final = 15.0
"""For how long a new address is tried every second, as two NATs open within it (section 2.7)."""
BURST_INTERVAL_S: Final = 1.0
INTERVAL_S: Final = 5.0
"""Between two tries after that, without end."""
AT_ONCE_S: Final = 0.25
"""No two tries are closer, whatever comes."""
NEWS_S: Final = 10.0
"""A sign from the address that comes after so long a silence is followed by a try at once."""

MOVED_S: Final = 3.0
MOVED_PROBES: Final = 3

QUIET_S: Final = 5.0
"""Silence of a path in use after which it is probed."""
CONFIRM_S: Final = 15.0
"""Age of the last acknowledgement at which it is probed although packets come."""
ANSWER_S: Final = 2.0
"""How long the last probe's acknowledgement is waited for: the reference waits a second itself."""
SILENT_PROBES: Final = 3
DEAF_PROBES: Final = 8
"""So many unanswered probes are a loss even if the other direction works."""
LOST_S: Final = 35.0
"""Silence that is a loss for certain: two heartbeats of the peer's and some more."""


class Trial:
    """An address that the peer may have, until it is proved to be good or another takes its place.

    ``size`` is that of its path probes. What :meth:`wake` returns is to be sealed as graces.
    """

    def __init__(
        self, address: Address, size: int, now: float, begin: float, profile: Profile
    ) -> None:
        self.address = address
        self.size = size
        self.since = now
        self.heard_at = -math.inf
        self.answered_at = -math.inf
        """When the path probe was acknowledged; to be set."""
        self.next_at = begin
        self._profile = profile
        self._burst_until = begin + BURST_S
        self._probes = 0
        self._soonest = begin
        self._moved_at = math.inf
        self._moved_packets = 0

    def at_once(self, now: float) -> None:
        """Try now, or a moment after the last try, and then as if nothing were."""
        self.next_at = min(self.next_at, max(now, self._soonest))

    def burst(self, now: float) -> None:
        """Try every second again, from now on."""
        self.at_once(now)
        self._burst_until = now + BURST_S

    def heard(self, at: float) -> None:
        """Something authentic came from the address."""
        self._moved_at = min(self._moved_at, at)
        self._moved_packets += 1
        if self.heard_at == -math.inf:
            self.burst(at)
        elif at >= self.heard_at + NEWS_S:
            self.at_once(at)
        self.heard_at = max(self.heard_at, at)

    def elsewhere(self) -> None:
        """Something authentic came from elsewhere: the peer has not moved to this address yet."""
        self._moved_at = math.inf
        self._moved_packets = 0

    def proved(self, acknowledges: bool, now: float) -> bool:
        """Whether the path is good: both directions, or as much as there is to learn of a peer that
        never ``acknowledges`` anything. Such a one moves to a path as soon as it hears of us there.
        """
        if now >= self.heard_at + LOST_S:
            return False
        answered = now < self.answered_at + LOST_S
        if answered or acknowledges:
            return answered
        moved_s = self.heard_at - self._moved_at
        return self._probes >= MOVED_PROBES and self._moved_packets > 1 and moved_s >= MOVED_S

    def wake(self, now: float) -> list[bytes]:
        """The graces that are due: a heartbeat opens NATs, a probe asks for an acknowledgement."""
        if now < self.next_at:
            return []
        bursting = now < self._burst_until
        self.next_at = now + (BURST_INTERVAL_S if bursting else INTERVAL_S)
        encode = self._profile.graces.encode
        unheard = self.heard_at == -math.inf
        if unheard or (not bursting and now >= self.heard_at + NEWS_S):
            return [encode(Heartbeat())]
        self._probes += 1
        self._soonest = now + AT_ONCE_S
        return [encode(Heartbeat()), encode(MtuProbe(self.size))]


class Watch:
    """A path in use: probed when it is quiet, and lost when nothing comes of that.

    ``guessed``: no acknowledgement has shown that what we send there arrives.
    """

    def __init__(
        self, address: Address, size: int, now: float, profile: Profile, *, guessed: bool = False
    ) -> None:
        self.address = address
        self.size = size
        self.since = now
        self.guessed = guessed
        self.heard_at = now
        self._profile = profile
        self._answered_at = now
        self._unanswered = 0
        self._first_at = now
        self._last_at = now

    def doubt(self) -> None:
        """Probe at once: something may have happened to the path."""
        self._answered_at = -math.inf

    def answered(self, now: float) -> None:
        """The path probe was acknowledged."""
        self.guessed = False
        self._answered_at = now
        self._unanswered = 0

    def lost_at(self, acknowledges: bool) -> float:
        """When the path is given up, if nothing changes."""
        at = self.heard_at + LOST_S
        if acknowledges and self._asked_enough():
            at = min(at, self._last_at + ANSWER_S)
        return at

    def next_at(self, acknowledges: bool) -> float:
        """When to probe; a peer that acknowledges nothing is never asked."""
        if not acknowledges or self._asked_enough():
            return math.inf
        if self._unanswered:
            return self._last_at + BURST_INTERVAL_S
        return min(self.heard_at + QUIET_S, self._answered_at + CONFIRM_S)

    def wake(self, acknowledges: bool, now: float) -> list[bytes]:
        """The path probe that is due."""
        if now < self.next_at(acknowledges):
            return []
        if not self._unanswered:
            self._first_at = now
        self._unanswered += 1
        self._last_at = now
        return [self._profile.graces.encode(MtuProbe(self.size))]

    def _asked_enough(self) -> bool:
        heard_meanwhile = self.heard_at >= self._first_at
        return self._unanswered >= (DEAF_PROBES if heard_meanwhile else SILENT_PROBES)
