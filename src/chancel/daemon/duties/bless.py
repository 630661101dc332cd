"""bless: seals plaintext.

In: the lane from heaven-rx and keys from chapel. Out: the lane to purgatory-tx. It has no
descriptor but these. Without a key it drops everything; it owns the packet numbers, so no nonce is
used twice, and throws a key away at its hard limits. Packets that shall have one size (TFC) are
filled here, where nothing passes by. Of what stands beside packets it hands on their sizes, and one
mark: that graces go to where the peer may be.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.ciphers import send_key_for, suite_for
from chancel.daemon.hot.filling import GROWTH_BYTES
from chancel.daemon.hot.grouping import by_way
from chancel.daemon.hot.seal import sealing
from chancel.daemon.hot.tfc import filled
from chancel.daemon.hot.turns import turns
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.linux import untouched_memory
from chancel.daemon.loop import Woken
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import BlessRecord
from chancel.daemon.run import MAX_PACKET_BYTES, TO_CANDIDATE, Run
from chancel.daemon.settings import TunnelSettings
from chancel.protocol.messages import EraseKeys
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAG_BYTES, TAIL_BYTES


class _Tunnel:
    def __init__(self, settings: TunnelSettings, suite: SystemSuite) -> None:
        self.fill_to = settings.mtu if settings.tfc else 0
        self.sealer = Sealer(settings.flocks, suite, settings.protocol, send_key_for("seal"))
        self.has_key = False
        self.keys = 0
        self.bytes = 0

    def snapshot(self) -> tuple[BlessRecord, Counter[Drop]]:
        """The board's entry."""
        report = self.sealer.report()
        record = BlessRecord(
            report.spi,
            self.keys,
            report.packets,
            self.bytes,
            report.installed_at,
            report.last_at or 0.0,
        )
        return record, self.sealer.drops


class Bless:
    """The duty of bless."""

    def __init__(self, process: Process) -> None:
        self._suite = suite_for("seal")
        self._seal_runs = sealing()
        self._keys = process.key_links["send-keys"]
        self._in = process.readers["bless"]
        self._out = process.writers["purgatory"]
        self._target: SlotView | None = None
        self._sealed: list[Run] = []
        self._fill = SlotView(untouched_memory(self._out.slot_bytes))
        self._publisher = Publisher(process)
        self._tunnels: dict[int, _Tunnel] = {}
        self._turns = turns(process.loop, "SealTurns", "seal", self._in, self._out)
        if self._turns is not None:
            process.shorten(self._turn)
        process.loop.add(self._keys, self._take_keys)
        process.loop.add(self._in, self._seal)

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        del fds
        entry = self._tunnels[tunnel] = _Tunnel(settings, self._suite)
        self._publisher.add(tunnel, settings.instance, entry.snapshot)

    def remove(self, tunnel: int) -> None:
        if self._turns is not None:
            self._turns.forget(tunnel)
        self._publisher.remove(tunnel)
        self._tunnels.pop(tunnel).sealer.execute(EraseKeys(), time.monotonic())

    def wake_at(self) -> float | None:
        return self._publisher.wake_at()

    def wake(self, now: float) -> None:
        self._publisher.flush(now)

    def _turn(self, epoll: int, deadline: float) -> Woken:
        """Wait, and seal in turns (``loop.Turns``); then keep the books of it."""
        woken: Woken = self._turns.run(epoll, deadline, self._publisher.books)
        for tunnel, octets in self._turns.carried():
            self._tunnels[tunnel].bytes += octets
            self._publisher.later(tunnel)
        return woken

    def _lend(self, tunnel: int, entry: _Tunnel) -> None:
        """Let turns seal under the tunnel's key of now, if it has one."""
        if self._turns is None or entry.fill_to:
            return
        key = entry.sealer.key
        if key is None:
            self._turns.forget(tunnel)
            return
        most, age_s = entry.sealer.limits
        self._turns.serve(tunnel, key, entry.sealer.layout, most, age_s)

    def _take_keys(self) -> None:
        while (received := self._keys.receive()) is not None:
            tunnel, command = received
            entry = self._tunnels.get(tunnel)
            if entry is None:
                continue  # removed while its last key was on the way
            entry.sealer.execute(command, time.monotonic())
            entry.has_key = entry.sealer.report().spi != 0
            entry.keys += 1
            entry.bytes = 0
            self._lend(tunnel, entry)
            self._publisher.now(tunnel)

    def _seal(self) -> None:
        batch = self._in.receive()
        if batch is None:
            return
        now = time.monotonic()
        source = self._in.views[batch.slot]
        for first, runs in by_way(batch.runs):
            entry = self._tunnels.get(first.tunnel)
            if entry is None:
                continue  # removed while its last batch was on the way
            if entry.fill_to:
                for run in self._filled(entry, source, runs):
                    self._seal_way(entry, self._fill, [run], now)
                    self._send()
            else:
                self._seal_way(entry, source, runs, now)
        self._send()
        self._in.release(batch)

    def _seal_way(self, entry: _Tunnel, source: SlotView, runs: list[Run], now: float) -> None:
        """Seal runs that go one way into the slot at hand."""
        tunnel = runs[0].tunnel
        packets, size, room = _size_up(runs)
        at = -(-self._sealed[-1].end // 16) * 16 if self._sealed else 0
        if at + room > self._out.slot_bytes:
            raise NeighbourLied("a batch of plaintext leaves no room for sealing it")
        keys = entry.sealer.reserve(packets, now)
        if keys is None:
            self._lend(tunnel, entry)
            if entry.has_key:
                entry.has_key = False
                self._publisher.now(tunnel)  # expired just now: heaven-rx must know
            else:
                self._publisher.later(tunnel)
            return
        target = self._target = self._target or self._out.wait_view()
        sealed = self._seal_runs(keys, source, runs, target, at)
        if runs[0].source == TO_CANDIDATE:  # nothing else gets past us in the clear
            sealed = [run._replace(source=TO_CANDIDATE) for run in sealed]
        self._sealed += sealed
        entry.bytes += size + packets * (len(keys.header) + TAG_BYTES)
        self._publisher.later(tunnel)

    def _filled(self, entry: _Tunnel, source: SlotView, runs: Iterable[Run]) -> Iterator[Run]:
        """The packets of a tunnel, all as long as its MTU; as many at once as one slot holds."""
        room = self._out.slot_bytes // (entry.fill_to + TAIL_BYTES + GROWTH_BYTES)
        return filled(source, self._fitting(entry, runs), self._fill, entry.fill_to, room)

    def _fitting(self, entry: _Tunnel, runs: Iterable[Run]) -> Iterator[Run]:
        """What isn't larger than the MTU: somebody may have raised that of the device."""
        for run in runs:
            if run.last < TAIL_BYTES:
                raise NeighbourLied("a packet of plaintext is shorter than its tail")
            if run.size - TAIL_BYTES <= entry.fill_to:
                yield run
            else:
                entry.sealer.drops[Drop.SEND_TOO_LARGE] += run.packets
                self._publisher.later(run.tunnel)

    def _send(self) -> None:
        """Hand the slot over, if anything is in it."""
        if self._sealed:
            self._out.send(self._sealed)
        self._target, self._sealed = None, []


def _size_up(runs: list[Run]) -> tuple[int, int, int]:
    """Of runs: how many packets, how many bytes, and the room that they take once sealed."""
    count = total = room = 0
    for _tunnel, _next, packets, size, last, _offset, _source in runs:
        if last < TAIL_BYTES or size + GROWTH_BYTES > MAX_PACKET_BYTES:
            raise NeighbourLied("a packet of plaintext has no size that can be sealed")
        length = (packets - 1) * size + last
        count += packets
        total += length
        room = -(-room // 16) * 16 + length + packets * GROWTH_BYTES
    return count, total, room


make = Bless
