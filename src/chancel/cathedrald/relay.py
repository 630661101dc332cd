"""Moving datagrams: trains in, trains out.

The kernel hands over a train at a time: datagrams of one sender and one size, one behind the other.
For traffic the brain is asked once, with the head of the first; the heads of the others are
compared with it in one expression, and the train leaves from where it lies, with one system call.
What comes one by one but goes the same way becomes a train here, as long as more is waiting.

Everything else (offers, and all datagrams under a shroud) is given to the brain one by one, and
what that wants to send is sent after each round. All sockets are received from; the main one sends.
"""

from __future__ import annotations

import time
from itertools import pairwise
from socket import socket
from typing import Final

import numpy as np

from chancel.daemon.hot.receive import READ_BYTES, receive
from chancel.daemon.hot.send import UdpSender
from chancel.daemon.hot.views import SlotView
from chancel.daemon.linux import untouched_memory
from chancel.daemon.run import MAX_RUN_PACKETS, Run
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.wire.datagram import CURRENT, MAX_DATAGRAM_BYTES
from chancel.wire.types import Address

MEMORY_BYTES: Final = 4 * READ_BYTES
"""Where datagrams lie until they are sent. It stays in the processor's cache."""

MOST_CALLS: Final = 256
"""Receiving calls in one round; then the other socket and the timers have their turn."""

HEAD_BYTES: Final = 32
"""Of traffic: SPI, counters, flocks."""

_MIN_BYTES: Final = CURRENT.traffic.overhead_bytes
_SPI_AT, _FLOCKS_AT = 0, 16


class Relay:
    """Receives, asks the brain, and sends on ``main``; counts calls, datagrams and bytes.

    ``shroud``: nothing can be told from a head, so everything is the brain's.
    """

    def __init__(self, brain: Cathedral, main: socket, *, gso: bool, shroud: bool) -> None:
        self._brain = brain
        self.sender = UdpSender(main, gso=gso)
        self._slot = SlotView(untouched_memory(MEMORY_BYTES))
        self._shroud = shroud
        self._run: Run | None = None
        self._target: Address | None = None
        self.datagrams = 0
        self.octets = 0
        self.calls = 0
        self.given = 0
        """Datagrams that were the brain's."""

    def receive(self, udp: socket) -> None:
        """Take what waits on a socket, and send what comes of it."""
        now, wall = time.monotonic(), time.time()
        memory = self._slot.memory
        at, given = 0, self.given
        for _ in range(MOST_CALLS):
            try:
                received = receive(udp, memory[at : at + READ_BYTES])
            except BlockingIOError:
                break
            if received is None:
                continue
            size, segment, source = received
            self.calls += 1
            at = self._take(at, size, segment, Address(source[0], source[1]), now, wall)
            if at + READ_BYTES > MEMORY_BYTES:
                self._send_run()
                at = 0
        self._send_run()
        if self.given != given:
            self.send()

    def send(self) -> None:
        """Send what the brain has to say."""
        for datagram, address in self._brain.datagrams():
            size = len(datagram)
            self.sender.send(memoryview(datagram), Run(0, 0, 1, size, size, 0), address)

    def _take(
        self, at: int, size: int, segment: int, source: Address, now: float, wall: float
    ) -> int:
        """Deal with one train at ``at``; returns the end of what is in use: it has yet to leave."""
        count = max(1, -(-size // segment))
        last = size - (count - 1) * segment
        self.datagrams += count
        self.octets += size
        if self._shroud or not _MIN_BYTES <= segment <= MAX_DATAGRAM_BYTES:
            self._give(at, size, segment, source, now, wall)
            return at
        if last < _MIN_BYTES:  # of more than one: a segment isn't too short
            self._give(at + size - last, last, last, source, now, wall)
            count, last = count - 1, segment
        end = at
        for first, packets in self._pieces(at, segment, count):
            start = at + first * segment
            tail = last if first + packets == count else segment
            head = self._slot.memory[start : start + HEAD_BYTES]
            route = self._brain.route(head, source)
            if route is None:
                length = (packets - 1) * segment + tail
                self._give(start, length, segment, source, now, wall)
                continue
            if tail == segment:
                passing = route.admit(segment, packets, now)
            else:
                passing = route.admit(segment, packets - 1, now)
                if route.admit(tail, 1, now):  # not while one before it was refused
                    passing += 1
            if passing:
                tail = tail if passing == packets else segment
                run = Run(0, 0, passing, segment if passing > 1 else tail, tail, start)
                self._pass_on(run, route.destination)
                end = run.end
        return end

    def _pieces(self, at: int, segment: int, count: int) -> list[tuple[int, int]]:
        """Where neighbours go the same way: first packet and number of packets of each piece."""
        if count == 1:
            return [(0, 1)]
        column = self._slot.column
        # As bytes: comparing these costs a quarter of what comparing arrays does.
        spis = column("V4", at + _SPI_AT, segment, count).tobytes()
        flocks = column("V16", at + _FLOCKS_AT, segment, count).tobytes()
        if spis == spis[:4] * count and flocks == flocks[:16] * count:
            return [(0, count)]
        numbers = np.frombuffer(spis, "=u4")
        pairs = np.frombuffer(flocks, "=u8").reshape(count, 2)
        turns = (numbers[1:] != numbers[:-1]) | (pairs[1:] != pairs[:-1]).any(axis=1)
        borders = [0, *(np.flatnonzero(turns) + 1).tolist(), count]
        return [(first, after - first) for first, after in pairwise(borders)]

    def _give(
        self, at: int, size: int, segment: int, source: Address, now: float, wall: float
    ) -> None:
        """Give datagrams to the brain, one by one."""
        memory, take = self._slot.memory, self._brain.receive
        for start in range(at, at + size, segment):
            take(memory[start : min(start + segment, at + size)], source, now, wall)
            self.given += 1

    def _pass_on(self, run: Run, target: Address) -> None:
        """Send a run, together with its neighbours in memory as far as they go the same way."""
        before = self._run
        if (
            before is not None
            and target == self._target
            and before.end == run.offset
            and before.last == before.size
            and (run.size == before.size or (run.packets == 1 and run.size < before.size))
            and before.packets + run.packets <= MAX_RUN_PACKETS
        ):
            packets = before.packets + run.packets
            self._run = before._replace(packets=packets, last=run.last)
            return
        self._send_run()
        self._run, self._target = run, target

    def _send_run(self) -> None:
        if self._run is not None and self._target is not None:
            self.sender.send(self._slot.memory, self._run, self._target)
        self._run = None
