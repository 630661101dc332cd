"""Moving datagrams: trains in, trains out.

The kernel hands over a train at a time: datagrams of one sender and one size, one behind the other.
For traffic the brain is asked once, with the head of the first; the heads of the others are
compared with it in one expression, and the train leaves from where it lies, with one system call.
What comes one by one but goes the same way becomes a train here, as long as more is waiting.

Everything else (offers, and all datagrams under a shroud) is given to the brain one by one, and
what that wants to send is sent at once. All sockets are received from; the main one sends.

With the accelerator compiled turns wait and relay (``daemon.hot.turns``) trains of traffic whose
ways the brain has told here, as long as those ways don't change. Everything else comes here.

At some hundred trains a second each finds the processor's caches filled by others, and costs what
Python has to be fetched for it: five times as much as in a row. So what is on a train's way is kept
short, at the price of some repetition, and a train that comes alone is not asked for a companion.
"""

from __future__ import annotations

import socket
import struct
import time
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from chancel.daemon.hot import twins
from chancel.daemon.hot.receive import READ_BYTES, Source, receive
from chancel.daemon.hot.send import UDP_SEGMENT, UdpSender
from chancel.daemon.hot.views import SlotView
from chancel.daemon.linux import untouched_memory
from chancel.daemon.loop import Books, Woken
from chancel.daemon.run import MAX_RUN_PACKETS, Run, pack_address, unpack_address
from chancel.protocol.cathedral.cathedral import Cathedral, Route
from chancel.wire.datagram import CURRENT, MAX_DATAGRAM_BYTES
from chancel.wire.types import Address

MEMORY_BYTES: Final = 4 * READ_BYTES
"""Where datagrams lie until they are sent. It stays in the processor's cache."""

MOST_CALLS: Final = 256
"""Receiving calls in one round; then the other socket and the timers have their turn."""

BUSY_S: Final = 0.0005
"""Rounds closer than this look whether more waits behind a train."""

HEAD_BYTES: Final = 32
"""Of traffic: SPI, counters, flocks."""

_IN_TURNS: Final = frozenset({"receive", "send", "turn"})
"""The hot functions that compiled turns of a relay are made of; there are none in Python."""

_MIN_BYTES: Final = CURRENT.traffic.overhead_bytes
_SPI, _FLOCKS = slice(0, 4), slice(16, 32)

_SEGMENT = struct.Struct("=H")

_Column = npt.NDArray[Any]


class _Shape:
    """All that can be prepared for trains of one size at the memory's begin: most have the same."""

    __slots__ = (
        "control",
        "count",
        "flocks",
        "head",
        "is_traffic",
        "segment",
        "size",
        "spis",
        "train",
    )

    def __init__(self, slot: SlotView, size: int, segment: int) -> None:
        self.size = size
        self.segment = segment
        self.count = max(1, -(-size // max(1, segment)))
        last = size - (self.count - 1) * segment
        self.is_traffic = last >= _MIN_BYTES and segment <= MAX_DATAGRAM_BYTES
        self.head = slot.memory[:HEAD_BYTES]
        self.train = [slot.memory[:size]]
        self.control = [(socket.SOL_UDP, UDP_SEGMENT, _SEGMENT.pack(segment))]
        self.spis, self.flocks = _heads(slot, 0, segment, self.count)


def _heads(slot: SlotView, at: int, segment: int, count: int) -> tuple[_Column, _Column]:
    """SPIs and flocks of packets, as arrays on the memory itself."""
    column = slot.column
    return (
        column("V4", at + _SPI.start, segment, count),
        column("V16", at + _FLOCKS.start, segment, count),
    )


class Relay:
    """Receives, asks the brain, and sends on ``main``; counts calls, datagrams and bytes.

    ``shroud``: nothing can be told from a head, so everything is the brain's.
    """

    def __init__(self, brain: Cathedral, main: socket.socket, *, gso: bool, shroud: bool) -> None:
        self._brain = brain
        self.sender = UdpSender(main, gso=gso)
        self._main = main
        self._slot = SlotView(untouched_memory(MEMORY_BYTES))
        self._room = self._slot.memory[:READ_BYTES]
        self._shape = _Shape(self._slot, 0, 0)
        self._shroud = shroud
        self._turns: Any = None
        if not shroud and twins.used() >= _IN_TURNS:
            self._turns = twins.compiled("turn").RelayTurns(self._slot.memory)
        self._sockets: list[int] = []
        self._lent: tuple[int, bool] | None = None
        """By what compiled turns go: how often ways have changed, and whether there is GSO."""
        self._run: Run | None = None
        self._target: Address | None = None
        self._began_at = 0.0
        self.datagrams = 0
        self.octets = 0
        self.calls = 0
        self.given = 0
        """Datagrams that were the brain's."""

    def shorten(self, sockets: list[socket.socket]) -> bool:
        """Let compiled turns receive on these sockets; whether there are such turns."""
        self._sockets = [each.fileno() for each in sockets]
        return self._turns is not None

    def turn(self, epoll: int, deadline: float, books: Books) -> Woken:
        """Wait, and relay without Python (``loop.Turns``), then keep the books of it, and deal with
        what was no traffic. Once something was relayed, not longer than until its owner
        is to write his books."""
        lent = self._brain.relayed.changes, self.sender.gso
        if lent != self._lent:
            self._turns.serve(self._sockets, *self.sender.fixed, self.sender.gso)
            self._lent = lent
        woken: Woken = self._turns.run(epoll, deadline, books)
        calls, datagrams, octets, sent = self._turns.carried()
        if calls:
            self.calls += calls
            self.datagrams += datagrams
            self.octets += octets
            self._brain.relayed.passed(octets, datagrams)
            self.sender.account(sent)
        if (odd := self._turns.odd()) is not None:
            at, size, segment, source = odd
            self._take(at, size, segment, unpack_address(source), time.monotonic())
            self._send_run()
        return woken

    def _lend(self, head: bytes, route: Route) -> None:
        """Let compiled turns know where traffic with this head goes."""
        if not route.is_limited:
            to = pack_address(route.destination)
            self._turns.lead(head[_SPI] + head[_FLOCKS], to, route.federated)

    def receive(self, udp: socket.socket) -> None:
        """Take what waits on a socket, and send what comes of it."""
        now = time.monotonic()
        is_busy = now - self._began_at < BUSY_S
        self._began_at = now
        memory, room = self._slot.memory, self._room
        at = 0
        for _ in range(MOST_CALLS):
            try:
                received = receive(udp, memory[at : at + READ_BYTES] if at else room)
            except BlockingIOError:
                break
            if received is None:
                continue
            size, segment, source = received
            self.calls += 1
            if not (is_busy or at) and size > segment and self._pass_through(size, segment, source):
                return
            at = self._take(at, size, segment, source, now)
            if at + READ_BYTES > MEMORY_BYTES:
                self._send_run()
                at = 0
        self._send_run()

    def send(self) -> None:
        """Send what the brain has to say."""
        datagrams = self._brain.datagrams()
        if datagrams:
            self._send_run()  # which came before
        for datagram, address in datagrams:
            size = len(datagram)
            self.sender.send(memoryview(datagram), [Run(0, 0, 1, size, size, 0)], address)

    def _pass_through(self, size: int, segment: int, source: Source) -> bool:
        """Send a train that came alone, and goes one way without a limit, from the memory's begin.

        Returns whether it was one. If not, nothing has been done: :meth:`_take` does it.
        """
        shape = self._shape
        if shape.size != size or shape.segment != segment:
            shape = self._shape = _Shape(self._slot, size, segment)
        sender = self.sender
        if not (shape.is_traffic and sender.gso) or self._shroud:
            return False
        head, count = shape.head.tobytes(), shape.count
        route = self._brain.route(head, source)
        if (
            route is None
            or route.is_limited
            or shape.spis.tobytes() != head[_SPI] * count
            or shape.flocks.tobytes() != head[_FLOCKS] * count
        ):
            return False
        try:
            self._main.sendmsg(shape.train, shape.control, 0, route.destination)
        except OSError:
            return False  # the sender finds out why
        route.pass_train(size, count)
        if self._turns is not None:
            self._lend(head, route)
        self.datagrams += count
        self.octets += size
        sender.calls += 1
        sender.datagrams += count
        sender.bytes += size
        return True

    def _take(self, at: int, size: int, segment: int, source: Source, now: float) -> int:
        """Deal with one train at ``at``; returns the end of what is in use: it has yet to leave."""
        count = -(-size // segment) or 1
        last = size - (count - 1) * segment
        self.datagrams += count
        self.octets += size
        if self._shroud or not _MIN_BYTES <= segment <= MAX_DATAGRAM_BYTES:
            self._give(at, size, segment, source, now)
            return at
        if last < _MIN_BYTES:  # of more than one: a segment isn't too short
            self._give(at + size - last, last, last, source, now)
            count, last = count - 1, segment
        end = at
        for first, packets in self._pieces(at, segment, count):
            tail = last if first + packets == count else segment
            end = max(
                end, self._take_piece(at + first * segment, segment, packets, tail, source, now)
            )
        return end

    def _take_piece(
        self, at: int, segment: int, packets: int, last: int, source: Source, now: float
    ) -> int:
        """Deal with packets that go one way; returns the end of those that have yet to leave, or
        0."""
        head = bytes(self._slot.memory[at : at + HEAD_BYTES])
        route = self._brain.route(head, source)
        if route is None:
            self._give(at, (packets - 1) * segment + last, segment, source, now)
            return 0
        if self._turns is not None:
            self._lend(head, route)
        passing = route.admit_train(segment, packets, last, now)
        if not passing:
            return 0
        if passing < packets:
            last = segment
        run = Run(0, 0, passing, segment if passing > 1 else last, last, at)
        self._pass_on(run, route.destination)
        return run.end

    def _pieces(self, at: int, segment: int, count: int) -> list[tuple[int, int]]:
        """Where neighbours go the same way: first packet and number of packets of each piece."""
        if count == 1:
            return [(0, 1)]
        spis, flocks = (each.tobytes() for each in _heads(self._slot, at, segment, count))
        # As bytes: comparing these costs a quarter of what comparing arrays does.
        if spis == spis[:4] * count and flocks == flocks[:16] * count:
            return [(0, count)]
        numbers = np.frombuffer(spis, "=u4")
        pairs = np.frombuffer(flocks, "=u8").reshape(count, 2)
        turns = (numbers[1:] != numbers[:-1]) | (pairs[1:] != pairs[:-1]).any(axis=1)
        borders = [0, *(np.flatnonzero(turns) + 1).tolist(), count]
        return [(first, after - first) for first, after in pairwise(borders)]

    def _give(self, at: int, size: int, segment: int, source: Source, now: float) -> None:
        """Give datagrams to the brain, one by one, and send what it says to them."""
        memory, take, wall = self._slot.memory, self._brain.receive, time.time()
        address = Address(source[0], source[1])
        for start in range(at, at + size, segment):
            take(memory[start : min(start + segment, at + size)], address, now, wall)
            self.given += 1
        self.send()

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
            self.sender.send(self._slot.memory, [self._run], self._target)
        self._run = None
