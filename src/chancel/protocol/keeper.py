"""Who makes a tunnel's keys: one machine for each mode, all with the same verbs.

The *keeper* is ``Exchange`` in tunnel mode, ``Pilgrim`` for a one-way sender and ``Shrine`` for a
one-way receiver.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from typing import Protocol

from chancel.protocol.events import MAX_EVENTS, Event
from chancel.protocol.messages import Command, PeerSeen, ReceiveReport
from chancel.protocol.states import State
from chancel.wire.drop import Drop
from chancel.wire.types import Address, Buffer


class Mode(enum.StrEnum):
    """What a tunnel end is for; the value is the word of configuration files."""

    TUNNEL = "tunnel"
    """Both directions, with a key exchange."""
    PILGRIM = "pilgrim"
    """A one-way sender, which announces its key."""
    SHRINE = "shrine"
    """A one-way receiver."""


class Keeper(Protocol):
    """What makes the keys. ``Exchange`` has the meaning of each verb."""

    drops: Counter[Drop]
    """Offers that were refused, by reason."""
    traced: bool
    """Whether each offer sent or received shall be an event, too, where it isn't one anyway."""

    @property
    def state(self) -> State:
        """What is being waited for: ``OFFERED`` while a key of ours is on its way."""
        ...

    @property
    def clock_skew_s(self) -> float | None:
        """The peer's wall clock minus ours; positive means that ours is behind."""
        ...

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        """Take one untrusted datagram of kind ``OFFER``; what is wrong with it is counted."""
        ...

    def report(self, report: ReceiveReport, now: float) -> None:
        """Take what the Opener saw."""
        ...

    def path_known(self, known: bool, now: float) -> None:
        """Whether there is an address to send to."""
        ...

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once."""
        ...

    def wake(self, now: float, wall: float) -> None:
        """Do what is due."""
        ...

    def datagrams(self) -> list[bytes]:
        """Drain the offers to send to the peer."""
        ...

    def commands(self) -> list[Command]:
        """Drain the commands for Sealer and Opener, in order."""
        ...

    def peer_seen(self) -> PeerSeen | None:
        """Take the newest address that an authentic offer came from."""
        ...

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or ``None``."""
        ...


class Outbox:
    """What a keeper has for others until they take it; the base of all three."""

    def __init__(self) -> None:
        self.drops: Counter[Drop] = Counter()
        self.traced = False
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._datagrams: list[bytes] = []
        self._commands: list[Command] = []
        self._peer_seen: PeerSeen | None = None

    def datagrams(self) -> list[bytes]:
        """Drain the offers to send to the peer; without an address they are lost."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def commands(self) -> list[Command]:
        """Drain the commands for Sealer and Opener, in order."""
        commands, self._commands = self._commands, []
        return commands

    def peer_seen(self) -> PeerSeen | None:
        """Take the newest address that an authentic offer came from."""
        seen, self._peer_seen = self._peer_seen, None
        return seen

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None
