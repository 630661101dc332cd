"""purgatory-tx: sends ciphertext to the network.

In: the lane from bless (traffic) and the lane from chapel (offers). Out: the UDP sockets. It holds
no key; the boards of confess and chapel tell it where the peer is.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter

from chancel.daemon.hot.send import UdpSender
from chancel.daemon.lane import LaneReader
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import PurgatoryRecord, current_peer
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.trace import NETWORK
from chancel.wire.drop import Drop
from chancel.wire.types import Address

log = logging.getLogger("chancel.daemon")


class _Tunnel:
    def __init__(self, settings: TunnelSettings, fd: int) -> None:
        self.settings = settings
        self.udp = socket.socket(fileno=fd)
        self.sender = UdpSender(self.udp, gso=settings.udp_gso)
        self.sender.on_gso_broken = self._gso_broken
        self.peer: Address | None = settings.peer

    def snapshot(self) -> tuple[PurgatoryRecord, Counter[Drop]]:
        """The board's entry."""
        sender = self.sender
        record = PurgatoryRecord(sender.datagrams, sender.bytes, sender.calls, sender.error)
        return record, Counter(sender.drops)

    def _gso_broken(self, error: OSError) -> None:
        log.warning(
            "sending in trains switched off tunnel=%s error=%s", self.settings.instance, error
        )


class PurgatoryTx:
    """The duty of purgatory-tx."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._bell = process.bell
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

    def _look(self) -> None:
        """An address changed: read where each peer is now."""
        self._bell.quiet()
        for tunnel, entry in self._tunnels.items():
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
            if entry.peer is None:
                entry.sender.drop(Drop.NO_PEER, run.packets)
            else:
                entry.sender.send(batch.memory, run, entry.peer)
            self._publisher.later(run.tunnel)
        if self._process.trace is not None:
            self._process.trace.hop(NETWORK, batch.runs)
        lane.release(batch)


make = PurgatoryTx
