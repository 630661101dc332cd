"""heaven-rx: reads plaintext from the device.

In: the device. Out: the lane to bless, and nothing else: a packet can't pass it by. It also makes
the graces (heartbeats, MTU probes and acknowledgements), because they travel as packets do; the
boards of bless, confess, chapel and heaven-tx tell it when. Those with which chapel tries an
address of the peer are marked: they go there, not where all else goes. It holds no key.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter

from chancel.daemon.hot.filling import Filling
from chancel.daemon.hot.reading import device_reader
from chancel.daemon.hot.turns import turns
from chancel.daemon.linux import MachineError
from chancel.daemon.loop import Woken
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher, earliest
from chancel.daemon.records import (
    BlessRecord,
    HeavenRxRecord,
    HeavenTxRecord,
    KeeperRecord,
    current_peer,
)
from chancel.daemon.run import TO_CANDIDATE, Run
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.events import MtuChanged, MtuNotFound
from chancel.protocol.graces import Graces
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuProbe
from chancel.wire.traffic import NEXT_GRACE

log = logging.getLogger("chancel.daemon")


class _Tunnel:
    def __init__(self, settings: TunnelSettings, fd: int, now: float) -> None:
        self.settings = settings
        self.reader = device_reader(
            fd,
            vnet=settings.tun_vnet,
            frame_header_bytes=len(settings.frame_header),
            ethernet=settings.tap,
            tags_aside=settings.tags_aside,
        )
        self.graces = Graces(settings.mtu, settings.mtu_discovery, now, settings.protocol)
        self.peer = settings.peer
        self.keys = 0
        self.probes = self.acks = 0
        self.tries = (0, 0)
        self.acks_twice = False
        """Whether acknowledgements go to where the peer may be, too."""
        self.heartbeat_at = self.mtu_lost_at = 0.0

    def snapshot(self) -> tuple[HeavenRxRecord, Counter[Drop]]:
        """The board's entry."""
        reader = self.reader
        record = HeavenRxRecord(
            self.graces.mtu,
            self.graces.safe_mtu,
            reader.packets,
            reader.bytes,
            self.heartbeat_at,
            reader.trains,
            self.mtu_lost_at,
        )
        return record, Counter(reader.drops) + self.graces.drops

    def see_keys(self, bless: BlessRecord, now: float) -> None:
        """A new sending key is shown to the peer by a burst of heartbeats; without one we rest."""
        if bless.spi == 0:
            self.graces.key_lost()
        elif bless.keys != self.keys:
            self.graces.key_installed(now)
        self.keys = bless.keys

    def see_graces(self, heaven_tx: HeavenTxRecord, now: float) -> None:
        """Heed what the peer's graces said."""
        if heaven_tx.probes != self.probes:
            self.probes = heaven_tx.probes
            self.graces.probe_received(heaven_tx.probe_size)
        if heaven_tx.mtu_acks != self.acks:
            self.acks = heaven_tx.mtu_acks
            self.graces.ack_received(heaven_tx.mtu_ack_size, now)
            self.mtu_lost_at = 0.0

    def see_tries(self, keeper: KeeperRecord) -> list[bytes]:
        """The graces to send to where the peer may be."""
        self.acks_twice = bool(keeper.candidate_spoke)
        tries = keeper.heartbeats, keeper.probes
        heartbeats, probes = self.tries
        self.tries = tries
        encode = self.settings.protocol.graces.encode
        wanted = [] if tries[0] == heartbeats else [encode(Heartbeat())]
        return wanted if tries[1] == probes else [*wanted, encode(MtuProbe(keeper.probe_size))]


class HeavenRx:
    """The duty of heaven-rx."""

    def __init__(self, process: Process) -> None:
        self._loop = process.loop
        self._process = process
        self._bell = process.bell
        self._lane = process.writers["bless"]
        self._filling = Filling()
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._graces_at: float | None = None
        self._turns = turns(process.loop, "ReadTurns", "read", self._lane)
        if self._turns is not None:
            process.shorten(self._turn)
        self._loop.add(self._bell, self._look)

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        entry = self._tunnels[tunnel] = _Tunnel(settings, fds[0], time.monotonic())
        self._publisher.add(tunnel, settings.instance, entry.snapshot)
        self._loop.add(fds[0], lambda: self._read(tunnel))
        if self._turns is not None:
            self._turns.serve(tunnel, entry.reader)
        # Who rang before we knew the tunnel won't ring again: a pilgrim has its key at once.
        self._heed(tunnel, entry, time.monotonic())
        self._schedule()

    def remove(self, tunnel: int) -> None:
        fd = self._tunnels.pop(tunnel).reader.fd
        if self._turns is not None:
            self._turns.forget(tunnel)
        self._loop.remove(fd)
        self._publisher.remove(tunnel)
        os.close(fd)
        self._schedule()

    def wake_at(self) -> float | None:
        return earliest(self._publisher.wake_at(), self._graces_at)

    def wake(self, now: float) -> None:
        if self._graces_at is not None and now >= self._graces_at:
            for tunnel, entry in self._tunnels.items():
                entry.graces.wake(now)
                self._send_graces(tunnel, entry, now)
            self._schedule()
        self._publisher.flush(now)

    def _turn(self, epoll: int, deadline: float) -> Woken:
        """Wait, and read in turns (``loop.Turns``); then keep the books of it."""
        woken: Woken = self._turns.run(epoll, deadline, self._publisher.books)
        for tunnel in self._turns.carried():
            self._publisher.later(tunnel)
        return woken

    def _schedule(self) -> None:
        """Find the next grace; only graces, keys and tunnels that come or go change it."""
        self._graces_at = earliest(*(entry.graces.wake_at() for entry in self._tunnels.values()))

    def _read(self, tunnel: int) -> None:
        """Drain the device into one slot (more, if a train goes on) and hand it to bless.

        Raises :class:`MachineError` when there is no device any more.
        """
        entry = self._tunnels[tunnel]
        more = True
        while more:
            slot = self._lane.wait_view()
            try:
                runs = entry.reader.fill(slot, tunnel)
            except OSError as error:
                raise MachineError(
                    f"network device {entry.settings.instance} is gone: {error.strerror}"
                    " (somebody has deleted it)"
                ) from error
            if runs:
                self._lane.send(runs)
            more = entry.reader.rest
        self._publisher.later(tunnel)

    def _look(self) -> None:
        """Somebody rang: a new key, a new address, or a grace."""
        self._bell.quiet()
        now = time.monotonic()
        for tunnel in self._process.changed("bless", "confess", "heaven-tx", "keeper"):
            if tunnel in self._tunnels:
                self._heed(tunnel, self._tunnels[tunnel], now)
        self._schedule()

    def _heed(self, tunnel: int, entry: _Tunnel, now: float) -> None:
        """Read what others say of a tunnel, and send the graces that are due because of it."""
        bless, confess, heaven_tx, keeper = (
            self._process.record(name, tunnel)
            for name in ("bless", "confess", "heaven-tx", "keeper")
        )
        safe_mtu = entry.graces.safe_mtu
        if bless:
            entry.see_keys(bless, now)
        if heaven_tx:
            entry.see_graces(heaven_tx, now)
        peer = current_peer(entry.settings.peer, confess, keeper)
        if peer != entry.peer:
            entry.peer = peer
            entry.graces.path_changed(now)
        if entry.graces.safe_mtu != safe_mtu:
            self._publisher.now(tunnel)
        if keeper:
            self._send_marked(tunnel, entry.see_tries(keeper))
        entry.graces.wake(now)
        self._send_graces(tunnel, entry, now)

    def _fill(self, tunnel: int, payloads: list[bytes]) -> list[Run]:
        """Lay graces into the slot at hand."""
        self._filling.begin(self._lane.wait_view())
        for payload in payloads:
            self._filling.packet(tunnel, NEXT_GRACE, memoryview(payload))
        return self._filling.finish()

    def _send_marked(self, tunnel: int, payloads: list[bytes]) -> None:
        """Send graces to where the peer may be."""
        if payloads:
            runs = self._fill(tunnel, payloads)
            self._lane.send([run._replace(source=TO_CANDIDATE) for run in runs])

    def _send_graces(self, tunnel: int, entry: _Tunnel, now: float) -> None:
        acknowledgements = entry.graces.acknowledgements()
        if entry.acks_twice:
            self._send_marked(tunnel, acknowledgements)  # the relay may be dead
        payloads = [*acknowledgements, *entry.graces.payloads()]
        if payloads:
            self._lane.send(self._fill(tunnel, payloads))
            entry.heartbeat_at = now
            self._publisher.later(tunnel)
        while (event := entry.graces.next_event()) is not None:
            instance = entry.settings.instance
            match event:
                case MtuChanged(mtu):
                    log.info("mtu acknowledged by the peer tunnel=%s mtu=%d", instance, mtu)
                    self._publisher.now(tunnel)
                case MtuNotFound(minimum):
                    entry.mtu_lost_at = now
                    log.warning(
                        "no mtu down to the minimum was acknowledged tunnel=%s minimum=%d",
                        instance,
                        minimum,
                    )


make = HeavenRx
