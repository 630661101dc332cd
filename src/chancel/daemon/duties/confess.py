"""confess: opens ciphertext.

In: the lane from purgatory-rx and keys from chapel. Out: the lane to heaven-tx. It has no
descriptor but these. What it authenticates tells where the peer is and that a key is in use: its
board says so to chapel, purgatory-tx and heaven-rx.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.ciphers import suite_for, window_for
from chancel.daemon.hot.grouping import by_way
from chancel.daemon.hot.open import opening, spi_of
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.tfc import cut_run
from chancel.daemon.hot.turns import turns
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lane import LaneCopy
from chancel.daemon.linux import untouched_memory
from chancel.daemon.loop import Woken
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher, earliest
from chancel.daemon.records import NOWHERE, ConfessRecord
from chancel.daemon.run import Run, pack_address, unpack_address
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.behaviour import CHANCEL
from chancel.protocol.keeper import Mode
from chancel.protocol.messages import EraseKeys
from chancel.protocol.opening import Opener, Slot
from chancel.protocol.window import ReplayWindow
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_INNER, TAIL_BYTES

ALTERNATING_S = 1.0
"""How often a source that comes back is news, where there is a cathedral."""

log = logging.getLogger("chancel.daemon")


class _Tunnel:
    def __init__(
        self, settings: TunnelSettings, suite: SystemSuite, window: Callable[[int], ReplayWindow]
    ) -> None:
        self.instance = settings.instance
        self.has_cathedral = settings.cathedral is not None
        self.tfc = settings.tfc
        behaviour = CHANCEL.one_way() if settings.mode is Mode.SHRINE else CHANCEL
        self.opener = Opener(settings.flocks, suite, behaviour, settings.protocol, window)
        self.bytes = 0
        self.peer = pack_address(settings.peer) if settings.peer else NOWHERE
        self.peer_at = self.moved_at = self.other_at = 0.0
        self.other = NOWHERE
        self.seen = (0, False)
        self.lent: tuple[Slot, bytes, float] | None = None
        """What turns open: under which key, from where, until when."""

    def snapshot(self) -> tuple[ConfessRecord, Counter[Drop]]:
        """The board's entry."""
        report = self.opener.report()
        record = ConfessRecord(
            report.active_spi,
            report.packets,
            self.bytes,
            report.installed_at,
            report.alive_at or 0.0,
            self.peer_at,
            self.peer,
            self.moved_at,
            self.other_at,
            self.other,
        )
        return record, self.opener.drops

    def urgent(self, source: bytes, now: float) -> bool:
        """After runs from one source: whether others must know at once that they came.

        That is a new address of the peer, or the first packet under a key. To be called only where
        something in them was authentic: their source becomes the peer's address.
        """
        active = self.opener.active
        seen = (active.spi, active.packets > 0) if active else (0, False)
        moved, first = source != self.peer, seen != self.seen
        if moved or not self.peer_at:
            self.moved_at = now
        if moved:
            moved = self._tell_move(source, now)
            self.other, self.other_at = self.peer, self.peer_at
        self.peer, self.peer_at = source, now
        if first:
            self.bytes = 0
            self.seen = seen
        return moved or first

    def _tell_move(self, source: bytes, now: float) -> bool:
        """Whether others must know at once that the source is another than that of the last packet.

        What a cathedral relays and what comes from the peer itself may alternate: then it is enough
        that they hear of each now and then, and the keeper decides where the peer is.
        """
        if self.has_cathedral:
            return source != self.other or now >= self.other_at + ALTERNATING_S
        log.info("peer address tunnel=%s new=%s", self.instance, unpack_address(source))
        return True


class Confess:
    """The duty of confess."""

    def __init__(self, process: Process) -> None:
        self._suite, self._window = suite_for("open"), window_for("open")
        self._opening = opening()
        self._keys = process.key_links["receive-keys"]
        self._in = process.readers["confess"]
        self._copy = None if self._opening.copies else LaneCopy(self._in)
        self._out = process.writers["heaven"]
        self._target: SlotView | None = None
        self._opened: list[Run] = []
        self._padded = SlotView(untouched_memory(self._out.slot_bytes))
        self._packing = Packing(
            self._out.wait_view,
            lambda _slot, runs: self._out.send(runs),
        )
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._expiry_at: float | None = None
        self._turns = turns(process.loop, "OpenTurns", "open", self._in, self._out, copy=self._copy)
        if self._turns is not None:
            process.shorten(self._turn)
        process.loop.add(self._keys, self._take_keys)
        process.loop.add(self._in, self._open)

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        del fds
        entry = self._tunnels[tunnel] = _Tunnel(settings, self._suite, self._window)
        self._publisher.add(tunnel, settings.instance, entry.snapshot)

    def remove(self, tunnel: int) -> None:
        if self._turns is not None:
            self._turns.forget(tunnel)
        self._publisher.remove(tunnel)
        self._tunnels.pop(tunnel).opener.execute(EraseKeys(), time.monotonic())

    def wake_at(self) -> float | None:
        return earliest(self._publisher.wake_at(), self._expiry_at)

    def wake(self, now: float) -> None:
        if self._expiry_at is not None and now >= self._expiry_at:
            for tunnel, entry in self._tunnels.items():
                active = entry.opener.active
                entry.opener.wake(now)
                if entry.opener.active is not active:
                    self._publisher.now(tunnel)
                self._lend(tunnel, entry)
            self._schedule()
        self._publisher.flush(now)

    def _turn(self, epoll: int, deadline: float) -> Woken:
        """Wait, and open in turns (``loop.Turns``); then keep the books of it."""
        woken: Woken = self._turns.run(epoll, deadline, self._publisher.books)
        for tunnel, packets, octets, at in self._turns.carried():
            entry = self._tunnels[tunnel]
            assert entry.lent is not None, "nothing is opened that wasn't lent"
            entry.opener.authenticated(entry.lent[0], at, packets)
            entry.bytes += octets
            entry.peer_at = at
            self._publisher.later(tunnel)
        return woken

    def _lend(self, tunnel: int, entry: _Tunnel) -> None:
        """Let turns open what is no news: under the key in use, from where the peer is."""
        if self._turns is None:
            return
        lent, active = None, entry.opener.active
        if active is not None and entry.seen == (active.spi, True) and active.packets:
            until = entry.opener.wake_at()
            lent = active, entry.peer, math.inf if until is None else until
        if entry.tfc or lent == entry.lent:
            return
        entry.lent = lent
        if lent is None:
            self._turns.forget(tunnel)
        else:
            opener = entry.opener
            slot, peer, until = lent
            self._turns.serve(tunnel, slot, opener.layout, opener.expected_flocks, peer, until)

    def _schedule(self) -> None:
        """Find the next key to expire; only keys that come, go, or are first used change it."""
        self._expiry_at = earliest(*(entry.opener.wake_at() for entry in self._tunnels.values()))

    def _take_keys(self) -> None:
        while (received := self._keys.receive()) is not None:
            tunnel, command = received
            entry = self._tunnels.get(tunnel)
            if entry is None:
                continue  # removed while its last key was on the way
            entry.opener.execute(command, time.monotonic())
            self._lend(tunnel, entry)
            self._publisher.now(tunnel)
            self._schedule()

    def _open(self) -> None:
        if self._copy is None:
            batch = self._in.receive()
            if batch is not None:
                self._open_batch(self._in.views[batch.slot], batch.runs)
                self._in.release(batch)
            return
        runs = self._copy.receive()
        if runs is not None:
            self._open_batch(self._copy.view, runs)

    def _open_batch(self, source: SlotView, batch: list[Run]) -> None:
        now = time.monotonic()
        for first, runs in by_way(batch):
            entry = self._tunnels.get(first.tunnel)
            if entry is None:
                continue  # removed while its last batch was on the way
            entry.opener.wake(now)
            if not _all_known(entry.opener, source, runs):
                # Their key can be on the link still: this batch came by another way.
                self._take_keys()
            if entry.tfc:
                opened = self._open_padded(entry, source, runs, now)
            else:
                opened = self._open_way(entry, source, runs, now)
            entry.bytes += _inner_bytes(opened)
            if opened and entry.urgent(first.source, now):
                self._publisher.now(first.tunnel)
                self._schedule()
            else:
                self._publisher.later(first.tunnel)
            self._lend(first.tunnel, entry)
        self._send()
        self._packing.finish()

    def _open_way(self, entry: _Tunnel, source: SlotView, runs: list[Run], now: float) -> list[Run]:
        """Open runs into the slot at hand."""
        self._packing.finish()
        at = -(-self._opened[-1].end // 16) * 16 if self._opened else 0
        target = self._target = self._target or self._out.wait_view()
        opened = self._opening.open_runs(entry.opener, source, runs, target, at, now)
        self._opened += opened
        return opened

    def _open_padded(
        self, entry: _Tunnel, source: SlotView, runs: list[Run], now: float
    ) -> list[Run]:
        """Open runs whose packets have one size, and cut them: any number of runs comes of it."""
        self._send()
        opened = self._opening.open_runs(entry.opener, source, runs, self._padded, 0, now)
        for run in opened:
            if run.next == NEXT_INNER:
                cut_run(self._padded, run, self._packing, entry.opener.drops)
            else:
                self._packing.add_run(self._padded, run)
        return opened

    def _send(self) -> None:
        """Hand the slot over, if anything is in it."""
        if self._opened:
            self._out.send(self._opened)
        self._target, self._opened = None, []


def _all_known(opener: Opener, source: SlotView, runs: list[Run]) -> bool:
    """Whether there is a key for the SPI at the head of each run."""
    return all(opener.lookup(spi_of(source, run)) is not None for run in runs)


def _inner_bytes(runs: list[Run]) -> int:
    return sum(
        [run.end - run.offset - run.packets * TAIL_BYTES for run in runs if run.next == NEXT_INNER]
    )


make = Confess
