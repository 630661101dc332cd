"""Turns in Python of the four processes that read and write the device and the network."""

from __future__ import annotations

import socket
import time
from typing import ClassVar, NamedTuple

from chancel.daemon.hot.reading import DeviceReader
from chancel.daemon.hot.receive import READ_BYTES, UdpReceiver, append, receive
from chancel.daemon.hot.send import Target, UdpSender, target_of
from chancel.daemon.hot.turn import CARRIED, LEFT, SETTLE, PlainTurns
from chancel.daemon.hot.writing import DeviceWriter
from chancel.daemon.lane import LaneCopy, LaneReader, LaneWriter
from chancel.daemon.loop import Poll
from chancel.daemon.run import LONE, Run, unpack_address
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.traffic import NEXT_INNER, TAIL_BYTES
from chancel.wire.types import Address

_UNMARKED = bytes(18)

_TIMER_LATE_S = 0.00005
"""By how much the kernel lets a sleeper wake up late (its timer slack)."""


class ReadTurns(PlainTurns):
    """Reads a packet that comes after a lull, and hands it to bless.

    Traffic is the duty's. It comes to it in turns that are apart, so that each has more to do.
    """

    PACE_S: ClassVar = 0.0015
    """From one turn to the next, at least, while they read more than one packet each. What eleven
    other processes do for a batch costs them as much for a small one; longer than this, and the
    device has a slot full."""

    def __init__(self, poll: Poll, target: LaneWriter) -> None:
        super().__init__(poll)
        self._out = target
        self._devices: dict[int, tuple[int, DeviceReader]] = {}
        self._carried: set[int] = set()
        self._last = 0.0
        self._before: tuple[int, int] = (0, 0)
        """The device that was read last, and how many packets had come before the duty read it."""

    def serve(self, tunnel: int, reader: DeviceReader) -> None:
        """Read a tunnel's device from now on."""
        self._devices[reader.fd] = tunnel, reader

    def forget(self, tunnel: int) -> None:
        """Carry nothing for a tunnel any more."""
        self._devices = {fd: each for fd, each in self._devices.items() if each[0] != tunnel}

    def carried(self) -> set[int]:
        """The tunnels that were read since this was asked last."""
        carried, self._carried = self._carried, set()
        return carried

    def carry(self, fd: int, now: float) -> int:
        device = self._devices.get(fd)
        lull, self._last = now - self._last, now
        if device is None:
            return LEFT
        tunnel, reader = device
        if lull < self.LULL_S:
            self._wait_for_more(reader, self.PACE_S - lull)
            return LEFT
        if (slot := self._out.slot()) is None:
            return LEFT
        to, memory = slot
        size = reader.lone(memory)
        if size is None:
            return LEFT
        token = LONE.pack(to, tunnel, NEXT_INNER, 1, size, size, 0, _UNMARKED)
        self._out.hand_over(to, token, lone=True)
        self._before = fd, reader.packets
        self._carried.add(tunnel)
        return CARRIED

    def _wait_for_more(self, reader: DeviceReader, rest_s: float) -> None:
        """Let more packets come, if those of the last turn were several, and all there were."""
        before, self._before = self._before, (reader.fd, reader.packets)
        several = reader.fd == before[0] and reader.packets - before[1] > 1
        if several and not reader.is_full and rest_s > _TIMER_LATE_S:
            time.sleep(rest_s - _TIMER_LATE_S)
            self._last = time.monotonic()


class _Way(NamedTuple):
    """Who sends a tunnel's packets, from which socket, and where they go."""

    sender: UdpSender
    udp: socket.socket
    peer: Address
    target: Target


class SendTurns(PlainTurns):
    """Sends what goes to where the peer surely is. A lone packet that is refused is sent by the
    duty again, which counts it."""

    def __init__(self, poll: Poll, source: LaneReader) -> None:
        super().__init__(poll)
        self._fd = source.fileno()
        self._in = source
        self._ways: dict[int, _Way] = {}
        self._carried: dict[int, tuple[int, int]] = {}

    def serve(self, tunnel: int, sender: UdpSender, is_ipv6: bool, peer: bytes, _gso: bool) -> None:
        """Send a tunnel's packets to this peer (packed) from now on."""
        address = unpack_address(peer)
        target = target_of(address, ipv6=is_ipv6)
        self._ways[tunnel] = _Way(sender, sender.udp, address, target)

    def forget(self, tunnel: int) -> None:
        """Carry nothing for a tunnel any more."""
        self._ways.pop(tunnel, None)

    def carried(self) -> list[tuple[int, tuple[int, ...]]]:
        """What was carried since this was asked last: tunnels, and what the compiled
        ``send_runs`` would have said of lone packets; the sender has counted all others."""
        carried = self._carried
        self._carried = {}
        return [
            (tunnel, (count, octets, count, 0, 0, 0, 0, 0))
            for tunnel, (count, octets) in carried.items()
        ]

    def carry(self, fd: int, now: float) -> int:
        del now
        if fd != self._fd or (seen := self._in.look()) is None:
            return LEFT
        number, view, run = seen
        tunnel, _next, packets, size, _last, offset, source = run
        way = self._ways.get(tunnel)
        if way is None or source != _UNMARKED:
            return LEFT
        count, octets = self._carried.get(tunnel, (0, 0))
        if packets > 1:
            way.sender.send(view.memory, [run], way.peer)
            self._in.done(number, lone=False)
            self._carried[tunnel] = count, octets
            return CARRIED
        try:
            way.udp.sendto(view.memory[offset : offset + size], way.target)
        except OSError:
            return LEFT
        self._in.done(number, lone=True)
        self._carried[tunnel] = count + 1, octets + size
        return CARRIED


class ReceiveTurns(PlainTurns):
    """Receives a datagram that comes after a lull, and hands it to confess if it is traffic."""

    def __init__(self, poll: Poll, target: LaneWriter) -> None:
        super().__init__(poll)
        self._out = target
        self._sockets: dict[int, tuple[int, UdpReceiver, frozenset[bytes]]] = {}
        self._carried: dict[int, tuple[int, int, int]] = {}
        self._mixed: tuple[int, list[Run]] | None = None
        self._last = 0.0

    def serve(self, tunnel: int, receiver: UdpReceiver, magics: bytes) -> None:
        """Receive for a tunnel from now on. An offer begins with one of the ``magics``."""
        begins = frozenset(magics[at : at + 8] for at in range(0, len(magics), 8))
        self._sockets[receiver.udp.fileno()] = tunnel, receiver, begins

    def forget(self, tunnel: int) -> None:
        """Carry nothing for a tunnel any more."""
        self._sockets = {fd: each for fd, each in self._sockets.items() if each[0] != tunnel}

    def carried(self) -> list[tuple[int, tuple[int, ...]]]:
        """What came since this was asked last: tunnels; how many datagrams and bytes, with how many
        calls, and nothing that was wrong."""
        carried = self._carried
        self._carried = {}
        return [(tunnel, (*told, 0, 0, 0)) for tunnel, told in carried.items()]

    def mixed(self) -> tuple[int, list[Run]] | None:
        """The tunnel and the runs of what is no lone packet of traffic, and lies in the slot at
        hand: to be sorted by the duty before anything else."""
        mixed, self._mixed = self._mixed, None
        return mixed

    def carry(self, fd: int, now: float) -> int:
        served = self._sockets.get(fd)
        lull, self._last = now - self._last, now
        if served is None or lull < self.LULL_S or (slot := self._out.slot()) is None:
            return LEFT
        tunnel, receiver, magics = served
        to, memory = slot
        try:
            received = receive(receiver.udp, memory[:READ_BYTES])
        except BlockingIOError:
            return LEFT
        if received is None:
            return LEFT
        size, segment, source = received
        packets, octets, calls = self._carried.get(tunnel, (0, 0, 0))
        if (
            segment != size
            or not receiver.min_bytes <= size <= MAX_DATAGRAM_BYTES
            or (size >= receiver.offer_bytes and bytes(memory[:8]) in magics)
        ):
            runs: list[Run] = []
            append(receiver, runs, 0, size, segment, tunnel, source)
            self._carried[tunnel] = packets, octets, calls + 1
            self._mixed = tunnel, runs
            return SETTLE
        token = LONE.pack(to, tunnel, 0, 1, size, size, 0, receiver.packed(source))
        self._out.hand_over(to, token, lone=True)
        self._carried[tunnel] = packets + 1, octets + size, calls + 1
        return CARRIED


class WriteTurns(PlainTurns):
    """Writes inner packets that the filter lets pass."""

    def __init__(self, poll: Poll, source: LaneReader, copy: LaneCopy) -> None:
        super().__init__(poll)
        self._fd = source.fileno()
        self._in, self._copy = source, copy
        self._writers: dict[int, DeviceWriter] = {}
        self._carried: set[int] = set()

    def serve(self, tunnel: int, writer: DeviceWriter) -> None:
        """Write a tunnel's packets to its device from now on."""
        self._writers[tunnel] = writer

    def forget(self, tunnel: int) -> None:
        """Carry nothing for a tunnel any more."""
        self._writers.pop(tunnel, None)

    def carried(self) -> set[int]:
        """The tunnels that were written to since this was asked last."""
        carried, self._carried = self._carried, set()
        return carried

    def carry(self, fd: int, now: float) -> int:
        del now
        if fd != self._fd or (seen := self._in.look()) is None:
            return LEFT
        number, view, run = seen
        tunnel, next_, packets, size, _last, offset, _source = run
        writer = self._writers.get(tunnel)
        if writer is None or next_ != NEXT_INNER:
            return LEFT
        # Both ways write what is ours: its writer may go on changing the other one.
        if packets > 1:
            copied = self._copy.take(view.memory, run)
            self._in.done(number, lone=False)
            writer.write(copied, [run])
        elif writer.write_lone(bytes(view.memory[offset : offset + size - TAIL_BYTES])):
            self._in.done(number, lone=True)
        else:
            return LEFT
        self._carried.add(tunnel)
        return CARRIED
