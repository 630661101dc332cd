"""One machine of the simulation: a host with two clocks, power, and a ledger that watches it.

What runs on it is for derived classes: a machine can lose power (all state is gone, and what runs
starts afresh), be suspended (its monotonic clock stops, its wall clock doesn't) and have a wrong
clock.
"""

from __future__ import annotations

import abc
import random
from collections import Counter
from collections.abc import Callable

from chancel.crypto.suite import Suite
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.events import PeerUnresponsive, SecretNotShared
from chancel.protocol.path_trial import OPENER
from chancel.protocol.session import SessionEvent, SessionSettings, SessionStatus
from chancel.sim.clock import HostClock
from chancel.sim.ledger import Ledger, Life, Rule
from chancel.sim.models import LinkModel
from chancel.sim.network import Network, Realm
from chancel.sim.suite import FastSuite
from chancel.sim.trace import Trace
from chancel.sim.watched import WatchedSuite
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import Address

PLAINTEXT_MARK = b"in the clear"
"""Heads every payload of the simulator, so that a readable one is noticed on the network."""


class Machine(abc.ABC):
    """One end of a tunnel between power on and power off, again and again.

    ``deliver`` is called with each inner packet that arrives. Randomness, that of the tunnel's end
    included, is drawn from ``rng``.
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
        secret: SecretSource,
        uplink: LinkModel,
        realm: Realm | None = None,
        skew_s: float = 0.0,
        deliver: Callable[[bytes], None],
        suite: Callable[[random.Random], Suite] = FastSuite,
    ) -> None:
        self.name = name
        self.clock = HostClock(network.clock, skew_s)
        self.settings = settings
        self.drops: Counter[Drop] = Counter()
        self.asleep = False
        self._network = network
        self._ledger = ledger
        self._trace = trace
        self._rng = rng
        self._secret = secret
        self._deliver = deliver
        self._suite = suite
        self._host = network.host(address, uplink, self._arrive, realm)
        self._life: Life | None = None

    @property
    def address(self) -> Address:
        """Its own: that inside of its router, if it has one."""
        return self._host.address

    def start(self) -> None:
        """Power on: what runs here has no memory of any time before."""
        self.asleep = False
        limit_s = self.settings.behaviour.receive_key_limit_s
        self._life = Life(self._ledger, self.name, self.clock, limit_s)
        self._power_on(WatchedSuite(self._suite(self._rng), self._life))

    def stop(self) -> None:
        """Power off, without a word to the peer."""
        if self._life is not None:
            self._life.end()
            self.drops += self._power_off()
        self._life = None

    def suspend(self, seconds: float) -> None:
        """Sleep: nothing is received, no timer runs, the monotonic clock stands still."""
        self.asleep = True
        self._network.clock.call_at(self._network.clock.now + seconds, self._wake_up, seconds)

    def send(self, payload: bytes) -> bool:
        """Send one inner packet; ``False`` where what runs here, or the machine, could not."""
        if self._life is None or self.asleep:
            return False
        return self._send(PLAINTEXT_MARK + payload)

    @abc.abstractmethod
    def status(self) -> SessionStatus | None:
        """What the protocol knows at this moment; ``None`` without power."""

    @abc.abstractmethod
    def _power_on(self, suite: WatchedSuite) -> None:
        """Begin a new end of the tunnel."""

    @abc.abstractmethod
    def _power_off(self) -> Counter[Drop]:
        """Forget it, and say what it dropped."""

    @abc.abstractmethod
    def _receive(self, datagram: bytes, source: Address) -> None:
        """Take one datagram, now."""

    @abc.abstractmethod
    def _send(self, payload: bytes) -> bool:
        """Send one inner packet; whether it left."""

    @abc.abstractmethod
    def _resume(self) -> None:
        """A suspend ended: the clock stood still meanwhile."""

    def _transmit(self, datagram: bytes, destination: Address) -> None:
        if PLAINTEXT_MARK in datagram:
            self._ledger.broken(self.name, Rule.PLAINTEXT, str(destination))
        self._network.send(self._host, datagram, destination)

    def _received(self, payload: bytes) -> None:
        self._deliver(payload.removeprefix(PLAINTEXT_MARK))

    def _happened(self, event: SessionEvent) -> None:
        self._trace.record(self._network.clock.now, self.name, event)
        if isinstance(event, PeerUnresponsive | SecretNotShared) and self._life is not None:
            self._life.erased()

    def _arrive(self, datagram: bytes, source: Address, pristine: bool) -> None:
        life = self._life
        if life is None or self.asleep:
            return
        life.arrived()
        opens = life.opens
        self._receive(datagram, source)
        if life.opens == opens and pristine and self._is_traffic(datagram):
            life.refused(datagram)

    def _is_traffic(self, datagram: bytes) -> bool:
        if self.settings.masked or datagram == OPENER:
            return False
        return datagram[:8] not in (MAGIC, CATHEDRAL.magic)

    def _wake_up(self, seconds: float) -> None:
        if not self.asleep:
            return  # it was switched off and on meanwhile
        self.clock.slept(seconds)
        if self._life is not None:
            self.asleep = False
            self._life.slept()
            self._resume()
