"""chapel: makes the keys.

In: the lane of offers from purgatory-rx, and the board of confess. Out: the lane of offers to
purgatory-tx, and keys to bless and confess on links that nobody else has. It is the one process
that reads the shared secret; it sees no traffic.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from chancel.crypto.system import SystemSuite
from chancel.daemon.exchange_log import tell
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
from chancel.protocol.events import (
    Event,
    ExchangePaused,
    ExchangeStarted,
    OfferReceived,
    OffersSent,
    PeerUnresponsive,
    SendKeyInstalled,
)
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey, ReceiveReport
from chancel.vault.files import SecretFile
from chancel.wire.drop import Drop
from chancel.wire.offer import OFFER_BYTES


class _Tunnel:
    def __init__(self, settings: TunnelSettings, suite: SystemSuite, now: float) -> None:
        self.settings = settings
        self.exchange = Exchange(
            suite,
            SecretFile(Path(settings.secret)),
            now,
            time.time(),
            peer_configured=settings.peer is not None,
            flocks=settings.flocks,
            spi_prefix=settings.spi_prefix,
        )
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
        skew_s = self.exchange.clock_skew_s
        state = "paused" if self.paused else self.exchange.state.value
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
        return record, self.exchange.drops

    def hear(self, confess: ConfessRecord | None, now: float) -> None:
        """Take what confess has seen."""
        if confess:
            self.exchange.report(
                ReceiveReport(
                    confess.spi, confess.packets, confess.installed_at, confess.alive_at or None
                ),
                now,
            )
        peer = current_peer(self.settings.peer, confess, self.snapshot()[0])
        self.exchange.path_known(peer is not None, now)

    def note_events(self, now: float, trace: Callable[[Event], None] | None) -> bool:
        """Log what happened; whether the board's entry changed because of it."""
        changed = False
        while (event := self.exchange.next_event()) is not None:
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
                    self.completed += 1
                    self.completed_at = now
                    self.trying_since = 0.0
                case PeerUnresponsive() if self.settings.peer is None:
                    self.forgotten_at = now
        return changed

    def note_peer(self) -> bool:
        """Take the source of the last good offer; whether it is a new address."""
        seen = self.exchange.peer_seen()
        if seen is None:
            return False
        peer = pack_address(seen.address)
        moved = peer != self.peer
        self.peer, self.peer_at = peer, seen.at
        return moved


class Chapel:
    """The duty of chapel."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._suite = SystemSuite()
        self._bell = process.bell
        self._confess = process.boards["confess"]
        self._in = process.readers["keeper"]
        self._out = process.writers["offer"]
        self._send_keys = process.key_links["send-keys"]
        self._receive_keys = process.key_links["receive-keys"]
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        process.loop.add(self._bell, self._look)
        process.loop.add(self._in, self._receive)

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        del fds
        entry = self._tunnels[tunnel] = _Tunnel(settings, self._suite, time.monotonic())
        self._publisher.add(tunnel, settings.instance, entry.snapshot)

    def remove(self, tunnel: int) -> None:
        self._publisher.remove(tunnel)
        del self._tunnels[tunnel]

    def wake_at(self) -> float | None:
        return earliest(
            self._publisher.wake_at(),
            *(entry.exchange.wake_at() for entry in self._tunnels.values()),
        )

    def wake(self, now: float) -> None:
        for tunnel, entry in self._tunnels.items():
            due = entry.exchange.wake_at()
            if due is not None and now >= due:
                self._advance(tunnel, entry, now)
        self._publisher.flush(now)

    def _look(self) -> None:
        """confess rang: a key is in use, or the peer is elsewhere."""
        self._bell.quiet()
        now = time.monotonic()
        for tunnel, entry in self._tunnels.items():
            self._advance(tunnel, entry, now)

    def _receive(self) -> None:
        batch = self._in.receive()
        if batch is None:
            return
        now, wall = time.monotonic(), time.time()
        touched: dict[int, _Tunnel] = {}
        for run in batch.runs:
            entry = self._tunnels.get(run.tunnel)
            if entry is None:
                continue  # removed while its last offer was on the way
            offer = bytes(batch.memory[run.offset : run.end])  # the writer can change its own
            entry.exchange.receive(offer, unpack_address(run.source), now, wall)
            touched[run.tunnel] = entry
        self._in.release(batch)
        for tunnel, entry in touched.items():
            self._advance(tunnel, entry, now)
            self._publisher.later(tunnel)

    def _advance(self, tunnel: int, entry: _Tunnel, now: float) -> None:
        """Let the exchange go on, and pass on what it wants: keys first, then offers."""
        trace = self._process.trace
        entry.exchange.traced = trace is not None
        board = self._confess.read(tunnel)
        moved = entry.note_peer()
        entry.hear(board.record if board else None, now)
        entry.exchange.wake(now, time.time())
        for command in entry.exchange.commands():
            match command:
                case InstallSendKey():
                    self._send_keys.send(tunnel, command)
                case InstallReceiveKey():
                    self._receive_keys.send(tunnel, command)
                case EraseKeys():
                    self._send_keys.send(tunnel, command)
                    self._receive_keys.send(tunnel, command)
        changed = entry.note_events(now, None if trace is None else partial(trace.event, tunnel))
        if moved or changed:
            self._publisher.now(tunnel)
        self._send(tunnel, entry, entry.exchange.datagrams())

    def _send(self, tunnel: int, entry: _Tunnel, offers: list[bytes]) -> None:
        if not offers:
            return
        entry.offers += len(offers)
        self._publisher.later(tunnel)
        _, memory = self._out.wait_slot()
        at = 0
        for offer in offers:
            memory[at : at + len(offer)] = offer
            at += len(offer)
        self._out.send([Run(tunnel, 0, len(offers), OFFER_BYTES, OFFER_BYTES, 0)])


make = Chapel
