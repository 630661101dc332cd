"""Receiving runs: the fourth hot function. One call brings many datagrams of one size (GRO)."""

from __future__ import annotations

import socket
import struct

import numpy as np
import numpy.typing as npt

from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import MAX_RUNS, Run, pack_address
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Address

UDP_GRO = 104
_READ_BYTES = 65_536
_CONTROL_BYTES = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(64)
_SIZE = struct.Struct("=i")
_MAGIC = np.frombuffer(MAGIC, dtype=np.uint8)


class UdpReceiver:
    """Receives from one socket and counts; remembers the packed form of the last source."""

    def __init__(self, udp: socket.socket) -> None:
        self.udp = udp
        self.datagrams = 0
        self.bytes = 0
        self.calls = 0
        self.drops: dict[Drop, int] = {}
        self._source: tuple[str, int] | None = None
        self._packed = b""

    def drop(self, reason: Drop, count: int = 1) -> None:
        """Count datagrams that go no further."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def packed(self, source: tuple[str, int]) -> bytes:
        """The source address as a run carries it."""
        if source != self._source:
            self._source = source
            self._packed = pack_address(Address(source[0], source[1]))
        return self._packed


def drain(
    receiver: UdpReceiver, slot: SlotView, runs: list[Run], at: int, tunnel: int
) -> tuple[int, bool]:
    """Receive into a slot from offset ``at`` on until the socket is empty or the slot is full.

    Appends to ``runs`` (untrusted datagrams of 50 to 1522 bytes); returns the offset reached and
    whether the socket is empty.
    """
    room = len(slot.memory)
    while at + _READ_BYTES <= room and len(runs) < MAX_RUNS:
        try:
            size, control, _, source = receiver.udp.recvmsg_into(
                [slot.memory[at : at + _READ_BYTES]], _CONTROL_BYTES, socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return at, True
        except OSError:
            receiver.calls += (
                1  # a pending ICMP error of something we sent: taken off, nothing lost
            )
            continue
        receiver.calls += 1
        segment = size
        for level, kind, data in control:
            if level == socket.SOL_UDP and kind == UDP_GRO:
                segment = _SIZE.unpack(data[:4])[0]
        at += _append(receiver, runs, at, size, segment or size, tunnel, source)
    return at, False


def _append(
    receiver: UdpReceiver,
    runs: list[Run],
    at: int,
    size: int,
    segment: int,
    tunnel: int,
    source: tuple[str, int],
) -> int:
    """Describe what was received as a run; returns how far the slot is used by it."""
    if size == 0:
        receiver.drop(Drop.TOO_SHORT)
        return 0
    count = -(-size // segment)
    last = size - (count - 1) * segment
    receiver.datagrams += count
    receiver.bytes += size
    if segment > MAX_DATAGRAM_BYTES:
        receiver.drop(Drop.TOO_LONG, count)
        return 0
    if last < OVERHEAD_BYTES:
        receiver.drop(Drop.TOO_SHORT, 1 if count > 1 else count)
        count, last, size = count - 1, segment, size - last
        if count == 0 or segment < OVERHEAD_BYTES:
            receiver.drop(Drop.TOO_SHORT, count)
            return 0
    packed = receiver.packed(source)
    previous = runs[-1] if runs else None
    if (
        previous
        and previous.tunnel == tunnel
        and previous.source == packed
        and previous.end == at
        and previous.last == previous.size
        and (segment == previous.size or (count == 1 and segment < previous.size))
    ):
        runs[-1] = previous._replace(packets=previous.packets + count, last=last)
    else:
        runs.append(Run(tunnel, 0, count, segment, last, at, packed))
    return size


def split_offers(slot: SlotView, runs: list[Run]) -> tuple[list[Run], list[Run]]:
    """Part runs into (traffic, offers) by their first eight bytes; a run without offers stays."""
    if not any(run.size >= OFFER_BYTES for run in runs):
        return runs, []
    traffic: list[Run] = []
    offers: list[Run] = []
    for run in runs:
        if run.size < OFFER_BYTES:
            traffic.append(run)
            continue
        marks = _are_offers(slot.array[run.offset : run.end], run.size, run.packets)
        if not marks.any():
            traffic.append(run)
            continue
        for i in range(run.packets):
            last = run.last if i == run.packets - 1 else run.size
            one = Run(run.tunnel, 0, 1, last, last, run.offset + i * run.size, run.source)
            (offers if marks[i] else traffic).append(one)
    return traffic, offers


def _are_offers(data: Bytes, stride: int, count: int) -> npt.NDArray[np.bool_]:
    """For each of the packets that lie ``stride`` apart: does it begin with an offer's magic?"""
    heads = np.lib.stride_tricks.as_strided(
        data, shape=(count, len(MAGIC)), strides=(stride, 1), writeable=False
    )
    found: npt.NDArray[np.bool_] = (heads == _MAGIC).all(axis=1)
    return found
