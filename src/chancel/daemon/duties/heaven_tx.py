"""heaven-tx: writes plaintext to the device.

In: the lane from confess. Out: the device, and its board for the graces that heaven-rx has to heed.
It filters what is inside, joins what may be joined, and holds no key.
"""

from __future__ import annotations

import itertools
import logging
import operator
import os
import time
from collections import Counter

from chancel.daemon import offloads
from chancel.daemon.hot.turns import turns
from chancel.daemon.hot.views import SlotView
from chancel.daemon.hot.writing import device_writer, offloads_of
from chancel.daemon.lane import LaneCopy
from chancel.daemon.loop import Woken
from chancel.daemon.offloads import COALESCE, NONE
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import HeavenTxRecord
from chancel.daemon.run import Run
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.trace import DEVICE
from chancel.errors import RemoteProtocolError
from chancel.protocol.graces import discovery_sizes
from chancel.wire import grace
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, TAIL_BYTES

log = logging.getLogger("chancel.daemon")


_kind = operator.attrgetter("tunnel", "next")


class _Tunnel:
    def __init__(self, settings: TunnelSettings, fd: int) -> None:
        self.writer = device_writer(
            fd,
            settings.networks,
            vnet=settings.tun_vnet,
            frame_header=settings.frame_header,
            ethernet=settings.tap,
            coalesce=settings.offloads & COALESCE,
        )
        self._instance = settings.instance
        self._joins = offloads_of(self.writer.joins)
        self._broken = NONE
        self._grace_drops: Counter[Drop] = Counter()
        self.codec = settings.protocol.graces
        self.heartbeat_at = 0.0
        self.probes = self.probe_size = self.acks = self.ack_size = 0
        self.mtu_acks = self.mtu_ack_size = 0
        self._mtu_sizes: frozenset[int] | None = None
        """Sizes of probes of the MTU, where paths are probed as well, in sizes of their own."""
        if settings.cathedral is not None:
            sizes = discovery_sizes(settings.mtu, settings.protocol)
            self._mtu_sizes = frozenset(sizes if settings.mtu_discovery else ())

    def snapshot(self) -> tuple[HeavenTxRecord, Counter[Drop]]:
        """The board's entry."""
        writer = self.writer
        broken = self._joins & ~offloads_of(writer.joins)
        if broken != self._broken:
            self._broken = broken
            log.warning(
                "packets are no longer joined tunnel=%s offload=%s error=EINVAL",
                self._instance,
                offloads.names(broken),
            )
        return HeavenTxRecord(
            writer.packets,
            writer.bytes,
            self.heartbeat_at,
            self.probes,
            self.probe_size,
            self.acks,
            self.ack_size,
            self.mtu_acks,
            self.mtu_ack_size,
            writer.writes,
            *writer.refused,
            broken,
        ), self._grace_drops + Counter(writer.drops)

    def grace(self, payload: memoryview) -> bool:
        """Note a grace; whether heaven-rx has to act on it. Counts one that is malformed."""
        try:
            message = self.codec.decode_untrusted(payload)
        except RemoteProtocolError as error:
            self._grace_drops[error.reason] += 1
            return False
        match message:
            case grace.MtuProbe(size):
                self.probes += 1
                self.probe_size = size
            case grace.MtuAck(size):
                self.acks += 1
                self.ack_size = size
                if self._mtu_sizes is None or size in self._mtu_sizes:
                    self.mtu_acks += 1
                    self.mtu_ack_size = size
            case _:
                self.heartbeat_at = time.monotonic()
                return False
        return True


class HeavenTx:
    """The duty of heaven-tx."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lane = process.readers["heaven"]
        self._copy = LaneCopy(self._lane)
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._turns = turns(process.loop, "WriteTurns", "write", self._lane, copy=self._copy)
        if self._turns is not None:
            process.shorten(self._turn)
        process.loop.add(self._lane, self._write)

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        entry = self._tunnels[tunnel] = _Tunnel(settings, fds[0])
        self._publisher.add(tunnel, settings.instance, entry.snapshot)
        if self._turns is not None:
            self._turns.serve(tunnel, entry.writer)

    def remove(self, tunnel: int) -> None:
        if self._turns is not None:
            self._turns.forget(tunnel)
        self._publisher.remove(tunnel)
        os.close(self._tunnels.pop(tunnel).writer.fd)

    def wake_at(self) -> float | None:
        return self._publisher.wake_at()

    def wake(self, now: float) -> None:
        self._publisher.flush(now)

    def _turn(self, epoll: int, deadline: float) -> Woken:
        """Wait, and write in turns (``loop.Turns``); then keep the books of it."""
        woken: Woken = self._turns.run(epoll, deadline, self._publisher.books)
        for tunnel in self._turns.carried():
            self._publisher.later(tunnel)
        return woken

    def _write(self) -> None:
        runs = self._copy.receive()
        if runs is None:
            return
        slot = self._copy.view
        for (tunnel, kind), together in itertools.groupby(runs, _kind):
            entry = self._tunnels.get(tunnel)
            if entry is None:
                continue  # removed while its last batch was on the way
            self._publisher.later(tunnel)
            if kind == NEXT_GRACE:
                for run in together:
                    self._graces(entry, slot, run)
            else:
                entry.writer.write(slot, list(together))
        if self._process.trace is not None:
            self._process.trace.hop(DEVICE, [run for run in runs if run.next != NEXT_GRACE])

    def _graces(self, entry: _Tunnel, slot: SlotView, run: Run) -> None:
        act = False
        for i in range(run.packets):
            at = run.offset + i * run.size
            size = (run.last if i == run.packets - 1 else run.size) - TAIL_BYTES
            act |= entry.grace(slot.memory[at : at + size])
        if act:
            self._publisher.now(run.tunnel)


make = HeavenTx
