"""A machine that runs a session, and the few lines that drive it: feed, drain, keep one timer."""

from __future__ import annotations

import math
from collections import Counter

from chancel.errors import LocalProtocolError
from chancel.protocol.session import Session, SessionStatus
from chancel.sim.machine import Machine
from chancel.sim.watched import WatchedSuite
from chancel.wire.drop import Drop
from chancel.wire.types import Address

MAX_WAKES_AT_ONCE = 100
"""A session that wants to be woken this often without time passing would never sleep again."""


class Node(Machine):
    """A machine with a :class:`~chancel.protocol.session.Session`, ``None`` without power."""

    session: Session | None = None
    _armed_at = math.inf
    _wake_at: float | None = None
    _wakes_at_once = 0

    def status(self) -> SessionStatus | None:
        """What the session knows at this moment."""
        return None if self.session is None else self.session.status(self.clock.monotonic())

    def _power_on(self, suite: WatchedSuite) -> None:
        now, wall = self.clock.monotonic(), self.clock.wall()
        self.session = Session(self.settings, suite, self._secret, now, wall)
        self.session.wake(now, wall)
        self._pump(self.session)

    def _power_off(self) -> Counter[Drop]:
        drops = Counter[Drop]() if self.session is None else self.session.drops
        self.session = None
        self._armed_at = math.inf
        return drops

    def _receive(self, datagram: bytes, source: Address) -> None:
        if self.session is not None:
            self.session.receive(datagram, source, self.clock.monotonic(), self.clock.wall())
            self._pump(self.session)

    def _send(self, payload: bytes) -> bool:
        if self.session is None:
            return False
        sent = self.session.send(payload, self.clock.monotonic())
        self._pump(self.session)
        return sent

    def _resume(self) -> None:
        self._armed_at = math.inf
        if self.session is not None:
            self._pump(self.session)

    def _pump(self, session: Session) -> None:
        for datagram, destination in session.datagrams():
            self._transmit(datagram, destination)
        for payload in session.received():
            self._received(payload)
        while (event := session.next_event()) is not None:
            self._happened(event)
        self._wake_at = session.wake_at()
        self._arm()

    def _arm(self) -> None:
        wake_at = self._wake_at
        if wake_at is not None and wake_at < self._armed_at and not self.asleep:
            self._armed_at = wake_at
            self._network.clock.call_at(self.clock.virtual(wake_at), self._fire, wake_at)

    def _fire(self, armed_at: float) -> None:
        if armed_at != self._armed_at or self.asleep or self.session is None:
            return  # stale: re-armed for earlier, asleep or switched off meanwhile
        self._armed_at = math.inf
        if self._wake_at is None or self._wake_at > armed_at:
            self._arm()  # something came meanwhile, and there is nothing to do yet
            return
        # After a suspend, adding and subtracting can be off by the last bit of a float.
        now = max(self.clock.monotonic(), armed_at)
        self.session.wake(now, self.clock.wall())
        self._pump(self.session)
        self._wakes_at_once = self._wakes_at_once + 1 if self._armed_at <= now else 0
        if self._wakes_at_once > MAX_WAKES_AT_ONCE:
            raise LocalProtocolError(f"{self.name} was woken at {now} and wants just that again")
