"""Turns in Python of the four processes that read and write the device and the network."""

from __future__ import annotations

import socket
from typing import NamedTuple

from chancel.daemon.hot.turn import CARRIED, LEFT, SETTLE, PlainTurns
from chancel.daemon.hot.reading import DeviceReader
from chancel.daemon.hot.receive import READ_BYTES, UdpReceiver, append, receive
from chancel.daemon.hot.send import Target, UdpSender, target_of
from chancel.daemon.hot.writing import DeviceWriter
from chancel.daemon.lane import LaneCopy, LaneReader, LaneWriter
from chancel.daemon.loop import Poll
from chancel.daemon.run import Run, unpack_address
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.traffic import NEXT_INNER, TAIL_BYTES
from chancel.wire.types import Address

_UNMARKED = bytes(18)


class ReadTurns(PlainTurns):
    """Reads a packet that comes after a lull, and hands it to bless."""

    def __init__(self, poll: Poll, target: LaneWriter) -> None:
        super().__init__(poll)
        self._out = target
        self._devices: dict[int, tuple[int, DeviceReader]] = {}
        self._carried: set[int] = set()
        self._last = 0.0

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
        if device is None or lull < self.LULL_S or (slot := self._out.slot()) is None:
            return LEFT
        tunnel, reader = device
        to, memory = slot
        size = reader.lone(memory)
        if size is None:
            return LEFT
        self._out.send_lone(to, tunnel, size)
        self._carried.add(tunnel)
        return CARRIED


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
        way = self._ways.get(run.tunnel)
        if way is None or run.source != _UNMARKED:
            return LEFT
        count, octets = self._carried.get(run.tunnel, (0, 0))
        if run.packets > 1:
            way.sender.send(view.memory, [run], way.peer)
            self._in.done(number, at_once=True)
            self._carried[run.tunnel] = count, octets
            return CARRIED
        datagram = view.memory[run.offset : run.end]
        try:
            way.udp.sendto(datagram, way.target)
        except OSError:
            return LEFT
        self._in.done(number, at_once=False)
        self._carried[run.tunnel] = count + 1, octets + len(datagram)
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
        self._out.send_lone(to, tunnel, size, receiver.packed(source))
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
        writer = self._writers.get(run.tunnel)
        if writer is None or run.next != NEXT_INNER:
            return LEFT
        # Both ways write what is ours: its writer may go on changing the other one.
        if run.packets > 1:
            copied = self._copy.take(view.memory, run)
            self._in.done(number, at_once=True)
            writer.write(copied, [run])
        elif writer.write_lone(bytes(view.memory[run.offset : run.end - TAIL_BYTES])):
            self._in.done(number, at_once=False)
        else:
            return LEFT
        self._carried.add(run.tunnel)
        return CARRIED
