"""One machine: a session on a host of the network, and the few lines that drive it.

Feed it, drain it, keep one timer. A node can lose power (all state is gone, a new session starts
afresh), be suspended (its monotonic clock stops, its wall clock doesn't) and have a wrong clock.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

from chancel.errors import LocalProtocolError
from chancel.protocol.events import PeerUnresponsive
from chancel.protocol.session import Session, SessionSettings
from chancel.sim.clock import HostClock
from chancel.sim.ledger import Ledger, Life, Rule
from chancel.sim.models import LinkModel
from chancel.sim.network import Network, Realm
from chancel.sim.suite import FastSuite
from chancel.sim.trace import Trace
from chancel.sim.watched import WatchedSuite
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import Address

PLAINTEXT_MARK = b"in the clear"
"""Heads every payload of the simulator, so that a readable one is noticed on the network."""

MAX_WAKES_AT_ONCE = 100
"""A session that wants to be woken this often without time passing would never sleep again."""


class Node:
    """A session between power on and power off, again and again.

    ``deliver`` is called with each inner packet that arrives. Randomness, the session's included,
    is drawn from ``rng``.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        ledger: Ledger,
        trace: Trace,
        rng: random.Random,
        *,
        address: Address,
        settings: SessionSettings,
        secret: Secret,
        uplink: LinkModel,
        realm: Realm | None = None,
        skew_s: float = 0.0,
        deliver: Callable[[bytes], None],
    ) -> None:
        self.name = name
        self.clock = HostClock(network.clock, skew_s)
        self.settings = settings
        self.session: Session | None = None
        self.drops: Counter[Drop] = Counter()
        self._network = network
        self._ledger = ledger
        self._trace = trace
        self._rng = rng
        self._secret = secret
        self._deliver = deliver
        self._host = network.host(address, uplink, self._receive, realm)
        self._life: Life | None = None
        self._asleep = False
        self._armed_at = math.inf
        self._wakes_at_once = 0

    def start(self) -> None:
        """Power on: a session with no memory of any before."""
        limit_s = self.settings.behaviour.receive_key_limit_s
        self._asleep = False
        self._life = Life(self._ledger, self.name, self.clock, limit_s)
        suite = WatchedSuite(FastSuite(self._rng), self._life)
        now = self.clock.monotonic()
        self.session = Session(self.settings, suite, lambda: self._secret, now, self.clock.wall())
        self._pump(self.session)

    def stop(self) -> None:
        """Power off, without a word to the peer."""
        if self.session is not None and self._life is not None:
            self._life.end()
            self.drops += self.session.drops
        self.session = self._life = None
        self._armed_at = math.inf

    def suspend(self, seconds: float) -> None:
        """Sleep: nothing is received, no timer runs, the monotonic clock stands still."""
        self._asleep = True
        self._network.clock.call_at(self._network.clock.now + seconds, self._resume, seconds)

    def send(self, payload: bytes) -> bool:
        """Send one inner packet; ``False`` where the session, or the machine, could not."""
        if self.session is None or self._asleep:
            return False
        sent = self.session.send(PLAINTEXT_MARK + payload, self.clock.monotonic())
        self._pump(self.session)
        return sent

    def _receive(self, datagram: bytes, source: Address, pristine: bool) -> None:
        session, life = self.session, self._life
        if session is None or life is None or self._asleep:
            return
        opens = life.opens
        session.receive(datagram, source, self.clock.monotonic(), self.clock.wall())
        if life.opens == opens and pristine and datagram[:8] != MAGIC:
            life.refused(datagram)
        self._pump(session)

    def _pump(self, session: Session) -> None:
        for datagram, destination in session.datagrams():
            if PLAINTEXT_MARK in datagram:
                self._ledger.broken(self.name, Rule.PLAINTEXT, str(destination))
            self._network.send(self._host, datagram, destination)
        for payload in session.received():
            self._deliver(payload.removeprefix(PLAINTEXT_MARK))
        while (event := session.next_event()) is not None:
            self._trace.record(self._network.clock.now, self.name, event)
            if isinstance(event, PeerUnresponsive) and self._life is not None:
                self._life.erased()
        wake_at = session.wake_at()
        if wake_at is not None and wake_at < self._armed_at and not self._asleep:
            self._armed_at = wake_at
            self._network.clock.call_at(self.clock.virtual(wake_at), self._fire, wake_at)

    def _fire(self, armed_at: float) -> None:
        if armed_at != self._armed_at or self._asleep or self.session is None:
            return  # stale: re-armed for earlier, asleep or switched off meanwhile
        self._armed_at = math.inf
        # After a suspend, adding and subtracting can be off by the last bit of a float.
        now = max(self.clock.monotonic(), armed_at)
        self.session.wake(now, self.clock.wall())
        self._pump(self.session)
        self._wakes_at_once = self._wakes_at_once + 1 if self._armed_at <= now else 0
        if self._wakes_at_once > MAX_WAKES_AT_ONCE:
            raise LocalProtocolError(f"{self.name} was woken at {now} and wants just that again")

    def _resume(self, seconds: float) -> None:
        self.clock.slept(seconds)
        if self._asleep and self.session is not None and self._life is not None:
            self._asleep = False
            self._armed_at = math.inf
            self._life.slept()
            self._pump(self.session)
