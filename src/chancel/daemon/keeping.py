"""What chapel, pilgrim and shrine have in common: a keeper's conversation with its neighbours.

The machine that makes the keys differs (``chancel.protocol.keeper``), and what a mode has no
process for isn't there: a pilgrim has no lane of offers that come, a shrine none of offers that go.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from chancel.crypto.system import SystemSuite
from chancel.daemon import masks
from chancel.daemon.exchange_log import tell
from chancel.daemon.lane import LaneReader
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher, earliest
from chancel.daemon.records import (
    EXCHANGE_REASONS,
    EXCHANGE_STATES,
    NOWHERE,
    ConfessRecord,
    KeeperRecord,
    current_peer,
)
from chancel.daemon.run import Run, pack_address, unpack_address
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.events import (
    Event,
    ExchangePaused,
    ExchangeStarted,
    OfferReceived,
    OffersSent,
    PeerUnresponsive,
    ReceiveKeyInstalled,
    SendKeyInstalled,
)
from chancel.protocol.keeper import Keeper, Mode
from chancel.protocol.messages import Command, EraseKeys, InstallMask, InstallSendKey, ReceiveReport
from chancel.protocol.tfc import Tfc
from chancel.wire.drop import Drop

MakeMachine = Callable[[TunnelSettings, SystemSuite, SecretSource, float, float], Keeper]
"""Makes the machine of one tunnel: with its settings, the source of its secret, now and wall."""


class _Tunnel:
    def __init__(self, settings: TunnelSettings, suite: SystemSuite, make: MakeMachine) -> None:
        now = time.monotonic()
        self.settings = settings
        secret, self.mask_keys = masks.sources(settings, suite, now)
        self.machine = make(settings, suite, secret, now, time.time())
        profile = settings.protocol
        # Key offers are of one size anyway, and a shrine insists on it.
        filled = (
            settings.tfc
            and settings.mode is Mode.TUNNEL
            and (profile.tfc_fills_bare_offers or masks.is_masked(settings))
        )
        overhead = profile.layouts.traffic.overhead_bytes
        self.tfc = Tfc(settings.mtu, overhead) if filled else None
        self.paused = False
        self.reason = 0
        self.completed = 0
        self.completed_at = 0.0
        self.trying_since = 0.0
        self.offers = 0
        self.forgotten_at = 0.0
        self.peer = NOWHERE
        self.peer_at = 0.0

    def snapshot(self) -> tuple[KeeperRecord, Counter[Drop]]:
        """The board's entry."""
        skew_s = self.machine.clock_skew_s
        state = "paused" if self.paused else self.machine.state.value
        record = KeeperRecord(
            EXCHANGE_STATES.index(state),
            self.reason,
            self.completed,
            self.completed_at,
            math.nan if skew_s is None else skew_s,
            self.forgotten_at,
            self.peer_at,
            self.peer,
            self.trying_since,
            self.offers,
        )
        return record, self.machine.drops

    def wake_at(self) -> float | None:
        """When the machine or the mask wants to be woken."""
        mask_at = self.mask_keys.wake_at() if self.mask_keys else None
        return earliest(self.machine.wake_at(), mask_at)

    def hear(self, confess: ConfessRecord | None, now: float) -> None:
        """Take what confess has seen."""
        if confess:
            self.machine.report(
                ReceiveReport(
                    confess.spi, confess.packets, confess.installed_at, confess.alive_at or None
                ),
                now,
            )
        peer = current_peer(self.settings.peer, confess, self.snapshot()[0])
        self.machine.path_known(peer is not None, now)

    def wake(self, now: float) -> list[Command]:
        """Let the machine, and the mask's key, go on; returns what others have to carry out."""
        if self.mask_keys is not None:
            self.mask_keys.wake(now)
        self.machine.wake(now, time.time())
        mask = [] if self.mask_keys is None else self.mask_keys.commands()
        return [*mask, *self.machine.commands()]

    def note_events(self, now: float, trace: Callable[[Event], None] | None) -> bool:
        """Log what happened; whether the board's entry changed because of it."""
        changed = False
        while (event := self._next_event()) is not None:
            if trace is not None:
                trace(event)
            if isinstance(event, OffersSent | OfferReceived):
                continue
            tell(self.settings.instance, event, now)
            changed = True
            match event:
                case ExchangeStarted(reason, _):
                    self.reason = EXCHANGE_REASONS.index(reason.value)
                    self.paused = False
                    if not self.trying_since:
                        self.trying_since, self.offers = now, 0
                case ExchangePaused():
                    self.paused = True
                case SendKeyInstalled():
                    self._completed(now)
                case ReceiveKeyInstalled() if self.settings.mode is Mode.SHRINE:
                    self._completed(now)
                case PeerUnresponsive() if self.settings.peer is None:
                    self.forgotten_at = now
        return changed

    def note_peer(self) -> bool:
        """Take the source of the last good offer; whether it is a new address."""
        seen = self.machine.peer_seen()
        if seen is None:
            return False
        peer = pack_address(seen.address)
        moved = peer != self.peer
        self.peer, self.peer_at = peer, seen.at
        return moved

    def _next_event(self) -> Event | None:
        event = self.machine.next_event()
        if event is None and self.mask_keys is not None:
            return self.mask_keys.next_event()
        return event

    def _completed(self, now: float) -> None:
        self.completed += 1
        self.completed_at = now
        self.trying_since = 0.0


class KeeperDuty:
    """The duty of a keeper."""

    def __init__(self, process: Process, *, machine: MakeMachine) -> None:
        self._process = process
        self._suite = SystemSuite()
        self._machine = machine
        self._bell = process.bell
        self._out = process.writers.get("offer")
        self._links = process.key_links
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        process.loop.add(self._bell, self._look)
        if "keeper" in process.readers:
            lane = process.readers["keeper"]
            process.loop.add(lane, partial(self._receive, lane))

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        del fds
        entry = self._tunnels[tunnel] = _Tunnel(settings, self._suite, self._machine)
        self._publisher.add(tunnel, settings.instance, entry.snapshot)

    def remove(self, tunnel: int) -> None:
        self._publisher.remove(tunnel)
        del self._tunnels[tunnel]

    def wake_at(self) -> float | None:
        return earliest(
            self._publisher.wake_at(), *(entry.wake_at() for entry in self._tunnels.values())
        )

    def wake(self, now: float) -> None:
        for tunnel, entry in self._tunnels.items():
            due = entry.wake_at()
            if due is not None and now >= due:
                self._advance(tunnel, entry, now)
        self._publisher.flush(now)

    def _look(self) -> None:
        """confess rang: a key is in use, or the peer is elsewhere."""
        self._bell.quiet()
        now = time.monotonic()
        for tunnel, entry in self._tunnels.items():
            self._advance(tunnel, entry, now)

    def _receive(self, lane: LaneReader) -> None:
        batch = lane.receive()
        if batch is None:
            return
        now, wall = time.monotonic(), time.time()
        touched: dict[int, _Tunnel] = {}
        for run in batch.runs:
            entry = self._tunnels.get(run.tunnel)
            if entry is None:
                continue  # removed while its last offer was on the way
            offer = bytes(batch.memory[run.offset : run.end])  # the writer can change its own
            entry.machine.receive(offer, unpack_address(run.source), now, wall)
            touched[run.tunnel] = entry
        lane.release(batch)
        for tunnel, entry in touched.items():
            self._advance(tunnel, entry, now)
            self._publisher.later(tunnel)

    def _advance(self, tunnel: int, entry: _Tunnel, now: float) -> None:
        """Let the machine go on, and pass on what it wants: keys first, then offers."""
        trace = self._process.trace
        entry.machine.traced = trace is not None
        moved = entry.note_peer()
        entry.hear(self._process.record("confess", tunnel), now)
        for command in entry.wake(now):
            for name in _takers(command):
                if name in self._links:
                    self._links[name].send(tunnel, command)
        changed = entry.note_events(now, None if trace is None else partial(trace.event, tunnel))
        if moved or changed:
            self._publisher.now(tunnel)
        self._send(tunnel, entry, entry.machine.datagrams())

    def _send(self, tunnel: int, entry: _Tunnel, offers: list[bytes]) -> None:
        """Hand offers, which have one size, to purgatory-tx."""
        if not offers or self._out is None:
            return
        entry.offers += len(offers)
        self._publisher.later(tunnel)
        if entry.tfc is not None:
            offers = [entry.tfc.fill_offer(offer, self._suite) for offer in offers]
        _, memory = self._out.wait_slot()
        data = b"".join(offers)
        memory[: len(data)] = data
        size = len(offers[0])
        self._out.send([Run(tunnel, 0, len(offers), size, size, 0)])


def _takers(command: Command) -> tuple[str, ...]:
    """The links on which a command goes out, in a mode that has them."""
    match command:
        case InstallMask():
            return "send-mask", "receive-mask"
        case InstallSendKey():
            return ("send-keys",)
        case EraseKeys():
            return "send-keys", "receive-keys"
        case _:
            return ("receive-keys",)
