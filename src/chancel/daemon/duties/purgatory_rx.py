"""purgatory-rx: receives ciphertext from the network.

In: the UDP sockets. Out: the lane to confess (traffic) and the lane to chapel (offers). It holds no
key and believes nothing; it only tells offers from traffic. What chapel can't take is dropped here,
so that a flood of offers never holds up traffic.
"""

from __future__ import annotations

import socket
from collections import Counter

from chancel.daemon.hot.receive import UdpReceiver, drain, split_offers
from chancel.daemon.hot.views import SlotView, SlotViews
from chancel.daemon.process import Process
from chancel.daemon.publish import Publisher
from chancel.daemon.records import PurgatoryRecord
from chancel.daemon.run import Run
from chancel.daemon.settings import TunnelSettings
from chancel.wire.drop import Drop


class PurgatoryRx:
    """The duty of purgatory-rx."""

    def __init__(self, process: Process) -> None:
        self._loop = process.loop
        self._traffic = process.writers["confess"]
        self._offers = process.writers["keeper"]
        self._views = SlotViews()
        self._publisher = Publisher(process)
        self._receivers: dict[int, UdpReceiver] = {}

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        receiver = self._receivers[tunnel] = UdpReceiver(socket.socket(fileno=fds[0]))

        def snapshot() -> tuple[PurgatoryRecord, Counter[Drop]]:
            record = PurgatoryRecord(receiver.datagrams, receiver.bytes, receiver.calls)
            return record, Counter(receiver.drops)

        self._publisher.add(tunnel, settings.instance, snapshot)
        self._loop.add(receiver.udp, lambda: self._receive(tunnel))

    def remove(self, tunnel: int) -> None:
        receiver = self._receivers.pop(tunnel)
        self._loop.remove(receiver.udp)
        self._publisher.remove(tunnel)
        receiver.udp.close()

    def wake_at(self) -> float | None:
        return self._publisher.wake_at()

    def wake(self, now: float) -> None:
        self._publisher.flush(now)

    def _receive(self, tunnel: int) -> None:
        receiver = self._receivers[tunnel]
        slot = self._views.of(*self._traffic.wait_slot())
        runs: list[Run] = []
        drain(receiver, slot, runs, 0, tunnel)
        self._publisher.later(tunnel)
        traffic, offers = split_offers(slot, runs)
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


make = PurgatoryRx
