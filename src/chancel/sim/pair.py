"""Two ends of one tunnel for hours or a year, with everything a network does to them."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from chancel.protocol.session import SessionSettings
from chancel.sim.clock import VirtualClock
from chancel.sim.filters import fragment_loss
from chancel.sim.ledger import Ledger, Violation
from chancel.sim.machine import Machine
from chancel.sim.nat import NAT_TYPES
from chancel.sim.network import Network
from chancel.sim.node import Node
from chancel.sim.scenario import Scenario
from chancel.sim.trace import Trace
from chancel.sim.tunnel_node import TunnelNode
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address

M = TypeVar("M", bound=Machine)

HOUR_S = 3600.0

LEFT = Address("192.0.2.1", 4500)
RIGHT = Address("198.51.100.2", 4500)
INSIDE = Address("10.0.0.1", 4500)
"""Where the left end is when it is behind a router, which then has the left address."""

RESTART_MEAN_S = 3 * HOUR_S
"""Mean time between two power failures, exponentially distributed."""

MAX_DOWN_S = 300.0
"""Longest power failure: beyond the 120 s after which the peer erases its keys."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What came of a run; equal for equal scenarios."""

    scenario: Scenario
    datagrams: int
    lost: int
    keys: int
    payloads_sent: int
    payloads_delivered: int
    restarts: int
    longest_recovery_s: float
    longest_silence_s: float
    drops: tuple[Counter[Drop], Counter[Drop]]
    events: int
    digest: str
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether no rule was broken."""
        return not self.violations


class Ends(Generic[M]):
    """The two nodes, ``left`` and ``right``, their network, ledger and trace, ready to run.

    Of which kind the nodes are is for derived classes to say, in ``node``.
    """

    node: type[M]

    def __init__(self, scenario: Scenario, keep_trace: bool = False) -> None:
        self.scenario = scenario
        self.clock = VirtualClock()
        self.ledger = Ledger(self.clock)
        self.trace = Trace(keep_trace)
        self.rng = random.Random(scenario.seed)  # noqa: S311 - repeatable on purpose
        self.network = Network(self.clock, self.rng)
        self.secret = Secret(self.rng.randbytes(32))
        self.payloads_sent = 0
        self.restarts = 0
        self._delivered: set[bytes] = set()
        if scenario.fragment_loss:
            self.network.refuse = fragment_loss(scenario.fragment_loss, self.rng)
        # Beyond the validity of offers, each end refuses the other's.
        limit_s = scenario.version.profile.offer_validity_s - 1.0
        skew_s = self.rng.uniform(-limit_s, limit_s) if scenario.skew else 0.0
        self.router = None
        if scenario.nat is not None:
            self.router = self.network.router(LEFT.host, NAT_TYPES[scenario.nat])
        self.left = self._node(0, RIGHT, skew_s / 2)
        self.right = self._node(1, LEFT if self.router is None else None, -skew_s / 2)

    @property
    def nodes(self) -> tuple[M, M]:
        """Left, then right."""
        return self.left, self.right

    def start(self) -> None:
        """Power both ends on and expect the tunnel within the scenario's bound."""
        for node in self.nodes:
            node.start()
            self._schedule_payload(node, self.scenario.payload_every_s * self.rng.random())
        self.ledger.expect_up(self.scenario.up_bound_s)
        if self.scenario.restarts:
            self._schedule_failure()
        if self.scenario.skew:
            at = self.scenario.hours * HOUR_S * self.rng.random()
            self.clock.call_at(at, self._set_clocks_right)

    def restart(self, node: M, down_s: float = 0.0) -> None:
        """Take a node's power and give it back after ``down_s``."""
        self.restarts += 1
        node.stop()
        self.ledger.disturbed()
        self.clock.call_at(self.clock.now + down_s, self._power_on, node)

    def wait_up(self, limit_s: float) -> float:
        """Run until the tunnel is up, at most ``limit_s``; returns how long that took.

        It is up when each end has opened a packet under a key younger than the last power on.
        """
        since = self.clock.now
        if self.clock.run_while(lambda: self.ledger.waiting_since is not None, since + limit_s):
            return self.clock.now - since
        return math.inf

    def report(self) -> Report:
        """Close the books and sum up."""
        keys = len(self.ledger.nonces)
        for node in self.nodes:
            node.stop()
        return Report(
            scenario=self.scenario,
            datagrams=self.network.sent,
            lost=self.network.lost,
            keys=keys,
            payloads_sent=self.payloads_sent,
            payloads_delivered=len(self._delivered),
            restarts=self.restarts,
            longest_recovery_s=max(self.ledger.recoveries, default=0.0),
            longest_silence_s=self.ledger.longest_silence_s,
            drops=(self.left.drops, self.right.drops),
            events=self.trace.count,
            digest=self.trace.digest(),
            violations=tuple(self.ledger.violations),
        )

    def _node(self, side: int, peer: Address | None, skew_s: float) -> M:
        behind = self.router if side == 0 else None
        public = (LEFT, RIGHT)[side]
        settings = SessionSettings(
            flocks=NO_FLOCKS,
            peer=peer,
            mtu_discovery=False,
            profile=self.scenario.version.profile,
            behaviour=self.scenario.behaviour(side),
        )
        return self.node(
            ("left", "right")[side],
            self.network,
            self.ledger,
            self.trace,
            self.rng,
            address=public if behind is None else INSIDE,
            realm=None if behind is None else behind.inside,
            settings=settings,
            secret=lambda: self.secret,
            uplink=self.scenario.link(),
            skew_s=skew_s,
            deliver=self._delivered.add,
        )

    def _schedule_payload(self, node: M, delay_s: float) -> None:
        self.clock.call_at(self.clock.now + delay_s, self._send_payload, node)

    def _send_payload(self, node: M) -> None:
        if node.send(self.payloads_sent.to_bytes(8, "big")):
            self.payloads_sent += 1
        self._schedule_payload(node, self.scenario.payload_every_s)

    def _schedule_failure(self) -> None:
        delay_s = self.rng.expovariate(1 / RESTART_MEAN_S)
        self.clock.call_at(self.clock.now + delay_s, self._fail)

    def _fail(self) -> None:
        down_s = 0.0 if self.rng.random() < 0.3 else MAX_DOWN_S * self.rng.random() ** 2
        self.restart(self.rng.choice(self.nodes), down_s)

    def _power_on(self, node: M) -> None:
        node.start()
        self.ledger.expect_up(self.scenario.up_bound_s)
        if self.scenario.restarts:
            self._schedule_failure()

    def _set_clocks_right(self) -> None:
        for node in self.nodes:
            node.clock.set_wall(0.0)


class Pair(Ends[Node]):
    """Two sessions. Tests take it apart; :func:`run` is the whole story."""

    node = Node


class TunnelPair(Ends[TunnelNode]):
    """Two programs with a tunnel of the library each, in every other respect the same."""

    node = TunnelNode


def run(scenario: Scenario, progress: Callable[[float], None] | None = None) -> Report:
    """Run a scenario to its end; ``progress`` is told the simulated hours done, once per hour.

    Whatever a run raises is an error of the protocol or the simulator; a note on it says how to
    repeat the run.
    """
    try:
        pair = TunnelPair(scenario) if scenario.tunnels else Pair(scenario)
        pair.start()
        done = 0.0
        while done < scenario.hours:
            done = min(done + 1.0, scenario.hours)
            pair.clock.run_until(done * HOUR_S)
            if progress is not None:
                progress(done)
        return pair.report()
    except Exception as error:
        error.add_note(f"repeat: {scenario.command()}")
        raise
