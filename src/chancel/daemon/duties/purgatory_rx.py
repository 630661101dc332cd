"""purgatory-rx: receives ciphertext from the network.

In: the UDP sockets. Out: the lane to confess (traffic) and the lane to the keeper (offers). It
holds no key but, where datagrams are masked, those of the masks, from the keeper. It believes
nothing: it takes masks off and tells offers from traffic. What the keeper can't take is dropped
here, so that a flood of offers never holds up traffic.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from functools import partial
from itertools import groupby

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.masking import unwrap_runs
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.receive import UdpReceiver
from chancel.daemon.hot.turns import turns
from chancel.daemon.hot.views import SlotView
from chancel.daemon.linux import untouched_memory
from chancel.daemon.loop import Woken
from chancel.daemon.masks import Masks, is_masked
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import PurgatoryRecord
from chancel.daemon.run import MAX_RUNS, Run
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.messages import Command
from chancel.wire.drop import Drop


class _Tunnel:
    def __init__(self, settings: TunnelSettings, fd: int, suite: SystemSuite) -> None:
        self.has_cathedral = settings.cathedral is not None
        self.receiver = UdpReceiver(socket.socket(fileno=fd), settings.protocol.layouts)
        self.masks = Masks(settings, suite) if is_masked(settings) else None

    def snapshot(self) -> tuple[PurgatoryRecord, Counter[Drop]]:
        """The board's entry."""
        receiver = self.receiver
        record = PurgatoryRecord(receiver.datagrams, receiver.bytes, receiver.calls)
        return record, Counter(receiver.drops)


class PurgatoryRx:
    """The duty of purgatory-rx."""

    def __init__(self, process: Process) -> None:
        self._loop = process.loop
        self._suite = SystemSuite()
        self._masks = process.key_links["receive-mask"]
        self._traffic = process.writers["confess"]
        self._offers = process.writers["keeper"]
        self._masked = SlotView(untouched_memory(self._traffic.slot_bytes))
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._early: dict[int, list[Command]] = {}
        self._turns = turns(process.loop, "ReceiveTurns", "receive", self._traffic)
        if self._turns is not None:
            process.shorten(self._turn)
        self._loop.add(self._masks, self._take_masks)

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        self._take_masks()
        entry = self._tunnels[tunnel] = _Tunnel(settings, fds[0], self._suite)
        for command in self._early.pop(tunnel, []):
            _install(entry, command)
        self._publisher.add(tunnel, settings.instance, entry.snapshot)
        receiver = entry.receiver
        self._loop.add(receiver.udp, lambda: self._receive(tunnel))
        if self._turns is not None and entry.masks is None:
            self._turns.serve(tunnel, *receiver.lent(cathedrals=entry.has_cathedral))

    def remove(self, tunnel: int) -> None:
        receiver = self._tunnels.pop(tunnel).receiver
        if self._turns is not None:
            self._turns.forget(tunnel)
        self._loop.remove(receiver.udp)
        self._publisher.remove(tunnel)
        receiver.udp.close()

    def wake_at(self) -> float | None:
        return self._publisher.wake_at()

    def wake(self, now: float) -> None:
        self._publisher.flush(now)

    def _turn(self, epoll: int, deadline: float) -> Woken:
        """Wait, and receive in turns (``loop.Turns``); then keep the books of it."""
        woken: Woken = self._turns.run(epoll, deadline, self._publisher.books)
        for tunnel, came in self._turns.carried():
            self._tunnels[tunnel].receiver.account(*came)
            self._publisher.later(tunnel)
        if (mixed := self._turns.mixed()) is not None:
            tunnel, runs = mixed
            self._sort(self._tunnels[tunnel], self._slot(), runs)
        return woken

    def _take_masks(self) -> None:
        while (received := self._masks.receive()) is not None:
            tunnel, command = received
            entry = self._tunnels.get(tunnel)
            if entry is None:
                # The keeper knows of a tunnel before we do. One mask of each kind is enough.
                early = self._early.setdefault(tunnel, [])
                early[:] = [each for each in early if type(each) is not type(command)]
                early.append(command)
            else:
                _install(entry, command)

    def _receive(self, tunnel: int) -> None:
        entry = self._tunnels[tunnel]
        runs: list[Run] = []
        self._publisher.later(tunnel)
        if entry.masks is None:
            slot = self._slot()
            entry.receiver.drain(slot, runs, 0, tunnel)
            self._sort(entry, slot, runs)
            return
        entry.receiver.drain(self._masked, runs, 0, tunnel)
        now = time.monotonic()
        # Opening may part each run in two.
        packing = Packing(self._slot, partial(self._sort, entry), MAX_RUNS // 2)
        masks, receiver = entry.masks, entry.receiver
        for mask, those in groupby(runs, lambda run: masks.of(run.source, now)):
            if mask is None:
                receiver.drop(Drop.NO_MASK, sum(run.packets for run in those))
            else:
                unwrap_runs(mask, self._masked.memory, list(those), packing, receiver.drop)
        packing.finish()

    def _slot(self) -> SlotView:
        return self._traffic.wait_view()

    def _sort(self, entry: _Tunnel, slot: SlotView, runs: list[Run]) -> None:
        receiver = entry.receiver
        traffic, offers = receiver.split_offers(slot, runs, cathedrals=entry.has_cathedral)
        if offers:
            self._to_keeper(receiver, slot, offers)
        if traffic:
            self._traffic.send(traffic)

    def _to_keeper(self, receiver: UdpReceiver, slot: SlotView, offers: list[Run]) -> None:
        taken = self._offers.slot()
        if taken is None:
            receiver.drop(Drop.OFFER_LIMIT, len(offers))
            return
        _, memory = taken
        runs: list[Run] = []
        at = 0
        for offer in offers:
            if at + offer.size > len(memory):
                receiver.drop(Drop.OFFER_LIMIT)
                continue
            memory[at : at + offer.size] = slot.memory[offer.offset : offer.end]
            runs.append(offer._replace(offset=at))
            at += offer.size
        self._offers.send(runs)


def _install(entry: _Tunnel, command: Command) -> None:
    if entry.masks is not None:
        entry.masks.install(command, time.monotonic())


make = PurgatoryRx
