"""purgatory-tx: sends ciphertext to the network.

In: the lane from bless (traffic) and the lane from the keeper (offers). Out: the UDP sockets. It
holds no key but, where datagrams are masked, that of the mask, from the keeper; without it nothing
leaves. The boards of confess and the keeper tell it where the peer is, that of heaven-rx how far a
mask may let small datagrams grow.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter

from chancel.crypto.system import SystemSuite
from chancel.daemon import masks
from chancel.daemon.config_types import MIN_MTU
from chancel.daemon.hot.masking import wrap_run
from chancel.daemon.hot.packing import Packing
from chancel.daemon.hot.send import UdpSender
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lane import LaneReader
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import HeavenRxRecord, PurgatoryRecord, current_peer
from chancel.daemon.run import Run
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.trace import NETWORK
from chancel.protocol.masking import Mask
from chancel.protocol.messages import InstallMask
from chancel.wire.drop import Drop
from chancel.wire.types import Address

log = logging.getLogger("chancel.daemon")

WRAPPED_BYTES = 128 * 1024
"""Where masked datagrams lie until they are sent: two trains at least."""


class _Tunnel:
    def __init__(self, settings: TunnelSettings, fd: int) -> None:
        self.settings = settings
        self.udp = socket.socket(fileno=fd)
        self.sender = UdpSender(self.udp, gso=settings.udp_gso)
        self.sender.on_gso_broken = self._gso_broken
        self.peer: Address | None = settings.peer
        self.is_masked = masks.is_masked(settings)
        self.mask: Mask | None = None
        self.limit = MIN_MTU if settings.mtu_discovery else settings.mtu
        """The payload that surely arrives: smaller datagrams may grow, but not up to it."""
        self._wrapped = SlotView(memoryview(bytearray(WRAPPED_BYTES if self.is_masked else 0)))
        self._packing = Packing(lambda: self._wrapped, self._send_wrapped)

    def snapshot(self) -> tuple[PurgatoryRecord, Counter[Drop]]:
        """The board's entry."""
        sender = self.sender
        record = PurgatoryRecord(sender.datagrams, sender.bytes, sender.calls, sender.error)
        return record, Counter(sender.drops)

    def see_mtu(self, heaven_rx: HeavenRxRecord | None) -> None:
        """Heed what heaven-rx has found out about the path."""
        if heaven_rx and heaven_rx.safe_mtu:
            self.limit = min(heaven_rx.safe_mtu, self.settings.mtu)

    def send(self, memory: memoryview, run: Run) -> None:
        """Send one run to where the peer is; what can't be sent is counted."""
        if self.peer is None:
            self.sender.drop(Drop.NO_PEER, run.packets)
        elif not self.is_masked:
            self.sender.send(memory, run, self.peer)
        elif self.mask is None:
            self.sender.drop(Drop.NO_MASK, run.packets)
        else:
            wrap_run(self.mask, memory, run, self.limit, self._packing)
            self._packing.finish()

    def _send_wrapped(self, slot: SlotView, runs: list[Run]) -> None:
        if self.peer is not None:
            for run in runs:
                self.sender.send(slot.memory, run, self.peer)

    def _gso_broken(self, error: OSError) -> None:
        log.warning(
            "sending in trains switched off tunnel=%s error=%s", self.settings.instance, error
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
        for name in ("offer", "purgatory"):
            lane = process.readers[name]
            process.loop.add(lane, lambda lane=lane: self._send(lane))  # type: ignore[misc]

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        entry = self._tunnels[tunnel] = _Tunnel(settings, fds[0])
        self._publisher.add(tunnel, settings.instance, entry.snapshot)

    def remove(self, tunnel: int) -> None:
        self._publisher.remove(tunnel)
        self._tunnels.pop(tunnel).udp.close()

    def wake_at(self) -> float | None:
        return self._publisher.wake_at()

    def wake(self, now: float) -> None:
        self._publisher.flush(now)

    def _take_masks(self) -> None:
        while (received := self._masks.receive()) is not None:
            tunnel, command = received
            entry = self._tunnels.get(tunnel)
            if entry is None or not isinstance(command, InstallMask):
                continue  # removed while its last key was on the way
            entry.mask = masks.make_mask(entry.settings, command, self._suite)

    def _look(self) -> None:
        """An address or an MTU changed: read where each peer is now."""
        self._bell.quiet()
        for tunnel, entry in self._tunnels.items():
            entry.see_mtu(self._process.record("heaven-rx", tunnel))
            entry.peer = current_peer(
                entry.settings.peer,
                self._process.record("confess", tunnel),
                self._process.record("keeper", tunnel),
            )

    def _send(self, lane: LaneReader) -> None:
        batch = lane.receive()
        if batch is None:
            return
        for run in batch.runs:
            entry = self._tunnels.get(run.tunnel)
            if entry is None:
                continue  # removed while its last batch was on the way
            entry.send(batch.memory, run)
            self._publisher.later(run.tunnel)
        if self._process.trace is not None:
            self._process.trace.hop(NETWORK, batch.runs)
        lane.release(batch)


make = PurgatoryTx
