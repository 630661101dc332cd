"""purgatory-tx: sends ciphertext to the network.

In: the lane from bless (traffic) and the lane from the keeper (offers). Out: the UDP sockets. It
holds no key but, where datagrams are masked, those of the masks, from the keeper; without them
nothing leaves. The boards of confess and the keeper tell it where the peer is, where it may be, and
when it was last understood, that of heaven-rx how far a mask may let small datagrams grow. Only the
keeper names an address by itself, for an offer; what comes from bless can go to the one of the peer
or the other.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections import Counter
from functools import partial
from itertools import groupby
from operator import attrgetter

from chancel.crypto.system import SystemSuite
from chancel.daemon.config_types import MIN_MTU
from chancel.daemon.hot.masking import wrap_runs
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.send import UdpSender
from chancel.daemon.hot.turns import turns
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lane import LaneReader
from chancel.daemon.loop import Woken
from chancel.daemon.masks import Masks, is_masked
from chancel.daemon.offloads import NONE, Offload
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import (
    NOWHERE,
    ConfessRecord,
    HeavenRxRecord,
    KeeperRecord,
    PurgatoryRecord,
    current_peer,
)
from chancel.daemon.run import TO_CANDIDATE, Run, pack_address, unpack_address
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.trace import NETWORK
from chancel.wire.drop import Drop
from chancel.wire.types import Address

log = logging.getLogger("chancel.daemon")

WRAPPED_BYTES = 128 * 1024
"""Where masked datagrams lie until they are sent: two trains at least."""

_END = attrgetter("tunnel", "source")


class _Tunnel:
    def __init__(self, settings: TunnelSettings, fd: int, suite: SystemSuite) -> None:
        self.settings = settings
        self.udp = socket.socket(fileno=fd)
        self.sender = UdpSender(self.udp, gso=Offload.GSO in settings.offloads)
        self.sender.on_gso_broken = self._gso_broken
        self.peer: Address | None = settings.peer
        self.candidate: Address | None = None
        self.masks = Masks(settings, suite) if is_masked(settings) else None
        self.limit = MIN_MTU if settings.mtu_discovery else settings.mtu
        """The payload that surely arrives: smaller datagrams may grow, but not up to it."""
        self._wrapped = SlotView(memoryview(bytearray(WRAPPED_BYTES if self.masks else 0)))
        self._packing = Packing(lambda: self._wrapped, self._send_wrapped)
        self.lent_gso = self.sender.gso
        """As turns have it."""
        self._target: Address | None = None
        self._packed = b""

    def snapshot(self) -> tuple[PurgatoryRecord, Counter[Drop]]:
        """The board's entry."""
        sender = self.sender
        broken = NONE if sender.gso else self.settings.offloads & Offload.GSO
        record = PurgatoryRecord(sender.datagrams, sender.bytes, sender.calls, sender.error, broken)
        return record, Counter(sender.drops)

    def see_mtu(self, heaven_rx: HeavenRxRecord | None) -> None:
        """Heed what heaven-rx has found out about the path."""
        if heaven_rx and heaven_rx.safe_mtu:
            self.limit = min(heaven_rx.safe_mtu, self.settings.mtu)

    def see_peer(self, confess: ConfessRecord | None, keeper: KeeperRecord | None) -> None:
        """Heed where the peer is, where it may be, and which mask it must have."""
        self.peer = current_peer(self.settings.peer, confess, keeper)
        if keeper and keeper.candidate != NOWHERE:
            self.candidate = unpack_address(keeper.candidate)
        else:
            self.candidate = None
        if keeper and self.masks is not None:
            self.masks.understood(keeper.peer_at)

    def send_traffic(self, memory: memoryview, runs: list[Run], source: bytes) -> None:
        """Send runs of bless to where the peer is, or to where it may be."""
        self._send(memory, runs, self.candidate if source == TO_CANDIDATE else self.peer)

    def send_offers(self, memory: memoryview, runs: list[Run], source: bytes) -> None:
        """Send runs of the keeper to the address they name, else to the peer."""
        to = self.peer if source == NOWHERE else unpack_address(source)
        self._send(memory, runs, to, offer=True)

    def _send(
        self, memory: memoryview, runs: list[Run], to: Address | None, *, offer: bool = False
    ) -> None:
        """What can't be sent is counted."""
        if to is None:
            self._drop(Drop.NO_PEER, runs)
            return
        if self.masks is None:
            self.sender.send(memory, runs, to)
            return
        if to is not self._target:
            self._target, self._packed = to, pack_address(to)
        mask = self.masks.worn(self._packed, time.monotonic(), offer=offer)
        if mask is None:
            self._drop(Drop.NO_MASK, runs)
            return
        wrap_runs(mask, memory, runs, self.limit, self._packing)
        self._packing.finish()

    def _send_wrapped(self, slot: SlotView, runs: list[Run]) -> None:
        assert self._target is not None, "nothing is wrapped for nobody"
        self.sender.send(slot.memory, runs, self._target)

    def _drop(self, reason: Drop, runs: list[Run]) -> None:
        self.sender.drop(reason, sum(run.packets for run in runs))

    def close(self) -> None:
        """Let go of all that refers to us: nobody collects cycles in this process."""
        self.udp.close()
        del self.sender.on_gso_broken, self._packing

    def _gso_broken(self, error: OSError) -> None:
        log.warning(
            "datagrams are no longer sent in trains tunnel=%s offload=gso error=%s",
            self.settings.instance,
            errno.errorcode.get(error.errno or 0, "unknown"),
        )


class PurgatoryTx:
    """The duty of purgatory-tx."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._suite = SystemSuite()
        self._masks = process.key_links["send-mask"]
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._bell = process.bell
        process.loop.add(self._masks, self._take_masks)
        process.loop.add(process.bell, self._look)
        self._ways = {
            process.readers["offer"]: _Tunnel.send_offers,
            process.readers["purgatory"]: _Tunnel.send_traffic,
        }
        self._turns = turns(process.loop, "SendTurns", "send", process.readers["purgatory"])
        if self._turns is not None:
            process.shorten(self._turn)
        for lane in self._ways:
            process.loop.add(lane, partial(self._send, lane))

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        entry = self._tunnels[tunnel] = _Tunnel(settings, fds[0], self._suite)
        self._see(tunnel, entry)  # what was told before we knew the tunnel
        self._publisher.add(tunnel, settings.instance, entry.snapshot)

    def remove(self, tunnel: int) -> None:
        if self._turns is not None:
            self._turns.forget(tunnel)
        self._publisher.remove(tunnel)
        self._tunnels.pop(tunnel).close()

    def wake_at(self) -> float | None:
        return self._publisher.wake_at()

    def wake(self, now: float) -> None:
        self._publisher.flush(now)

    def _turn(self, epoll: int, deadline: float) -> Woken:
        """Wait, and send in turns (``loop.Turns``); then keep the books of it."""
        woken: Woken = self._turns.run(epoll, deadline, self._publisher.books)
        for tunnel, sent in self._turns.carried():
            entry = self._tunnels[tunnel]
            entry.sender.account(sent)
            self._publisher.later(tunnel)
            if entry.sender.gso is not entry.lent_gso:
                self._lend(tunnel, entry)
        return woken

    def _lend(self, tunnel: int, entry: _Tunnel) -> None:
        """Let turns send to where the peer is now, if that is known and nothing masked."""
        entry.lent_gso = entry.sender.gso
        if self._turns is None:
            return
        if entry.peer is None or entry.masks is not None:
            self._turns.forget(tunnel)
            return
        peer = pack_address(entry.peer)
        self._turns.serve(tunnel, *entry.sender.fixed, peer, entry.lent_gso)

    def _take_masks(self) -> None:
        while (received := self._masks.receive()) is not None:
            tunnel, command = received
            entry = self._tunnels.get(tunnel)
            if entry is None or entry.masks is None:
                continue  # removed while its last key was on the way
            entry.masks.install(command, time.monotonic())

    def _look(self) -> None:
        """An address or an MTU changed: read where each peer is now."""
        self._bell.quiet()
        for tunnel in self._process.changed("heaven-rx", "confess", "keeper"):
            if tunnel in self._tunnels:
                self._see(tunnel, self._tunnels[tunnel])

    def _see(self, tunnel: int, entry: _Tunnel) -> None:
        entry.see_mtu(self._process.record("heaven-rx", tunnel))
        entry.see_peer(
            self._process.record("confess", tunnel), self._process.record("keeper", tunnel)
        )
        self._lend(tunnel, entry)

    def _send(self, lane: LaneReader) -> None:
        batch = lane.receive()
        if batch is None:
            return
        send = self._ways[lane]
        runs = batch.runs
        parts = [runs] if len(runs) == 1 else [list(part) for _, part in groupby(runs, _END)]
        for part in parts:
            tunnel, source = _END(part[0])
            entry = self._tunnels.get(tunnel)
            if entry is None:
                continue  # removed while its last batch was on the way
            send(entry, batch.memory, part, source)
            if entry.sender.gso is not entry.lent_gso:
                self._lend(tunnel, entry)
            self._publisher.later(tunnel)
        if self._process.trace is not None:
            self._process.trace.hop(NETWORK, batch.runs)
        lane.release(batch)


make = PurgatoryTx
