"""Who asks cathedrals, one at a time, whatever it is that he asks (cathedral sections 2 and 6).

A registration and a member of a liturgy have a ``client`` for the conversation, and the same verbs
around it. What they ask and when, and what they make of the answers, is their own.
"""

from __future__ import annotations

import abc
import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from chancel.crypto.suite import Suite
from chancel.protocol.behaviour import Behaviour
from chancel.protocol.client import Client
from chancel.protocol.events import MAX_EVENTS
from chancel.protocol.registration_events import RegistrationEvent
from chancel.protocol.registration_types import Registrant
from chancel.wire.drop import Drop
from chancel.wire.types import Address

C = TypeVar("C")


class Asker(abc.ABC, Generic[C]):
    """Call ``wake`` when :meth:`wake_at` has come, which may be at once after any method.

    Take :meth:`datagrams` for the socket, :meth:`commands` of type ``C``, and :meth:`next_event`.
    ``drops`` counts what was refused.
    """

    def __init__(
        self, suite: Suite, registrant: Registrant, now: float, wall: float, behaviour: Behaviour
    ) -> None:
        """No cathedral is known before :meth:`resolved`."""
        self.drops: Counter[Drop] = Counter()
        self._events: deque[RegistrationEvent] = deque(maxlen=MAX_EVENTS)
        self._commands: list[C] = []
        self._client = Client(suite, registrant, self._events, now, wall, behaviour)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._client!r}>"

    @property
    def cathedral(self) -> Address | None:
        """The current cathedral; ``None`` until an address is known."""
        return self._client.choice.current

    @property
    def clock_skew_s(self) -> float | None:
        """The cathedral's wall clock minus ours; positive means that ours is behind."""
        return self._client.clock_skew_s

    def resolved(self, cathedrals: Sequence[Address], now: float) -> None:
        """As :meth:`Client.resolved`."""
        self._client.resolved(cathedrals, now)
        self._follow(now)

    def remembered(self, cathedrals: Sequence[Address], now: float) -> None:
        """As :meth:`Client.remembered`."""
        self._client.remembered(cathedrals, now)

    def wake_at(self) -> float | None:
        """When to be woken next: the past means at once, ``None`` never."""
        at = self._client.choice_at()
        if self.cathedral is not None:
            at = min(at, self._due_at())
        return None if at == math.inf else at

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Drain the bare offers to send, and where each goes."""
        datagrams, self._client.datagrams = self._client.datagrams, []
        return datagrams

    def commands(self) -> list[C]:
        """Drain the commands, in order."""
        commands, self._commands = self._commands, []
        return commands

    def next_event(self) -> RegistrationEvent | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    def _go_on(self, now: float, wall: float) -> bool:
        """Let the client choose another cathedral; whether the wall clock has jumped."""
        jumped = self._client.wake(now, wall)
        self._follow(now)
        return jumped

    def _follow(self, now: float) -> None:
        if (cathedral := self._client.chosen()) is not None:
            self._choose(cathedral, now)

    @abc.abstractmethod
    def _due_at(self) -> float:
        """When the current cathedral has to be asked or told something."""

    @abc.abstractmethod
    def _choose(self, cathedral: Address, now: float) -> None:
        """This is the current cathedral from now on."""
