"""Reading the device: the first hot function.

What comes alone is passed on as it is, trains are cut (``cut``), both into a slot (``filling``).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

from chancel.daemon.hot import twins
from chancel.daemon.hot.cut import (
    GSO_ECN,
    GSO_NONE,
    MAX_INNER_BYTES,
    NEEDS_CHECKSUM,
    VNET,
    Train,
    first_of,
    train_of,
    without,
)
from chancel.daemon.hot.cutting import Cutting
from chancel.daemon.hot.filling import Checksum, Filling, complete
from chancel.daemon.hot.tags import TaggedFrames
from chancel.daemon.hot.views import Bytes, SlotView
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

MAX_READ_BYTES = 65_536 + 64
"""One read: a 64 KiB packet, its headers, and a VLAN tag that is put into it."""

MIN_INNER_BYTES = 13
"""Reads of 12 bytes or less are discarded (protocol section 3.4)."""

_TAIL = bytes(TAIL_BYTES)
_ROOM = 64, 1_024
"""So many packets of that size must fit a slot before each read: one may bring 64 KiB of them."""


class Reader(Protocol):
    """What reads a device: :class:`DeviceReader`, or its compiled twin."""

    @property
    def fd(self) -> int:
        """The device's descriptor, which isn't ours to close."""

    @property
    def packets(self) -> int:
        """Packets read, trains counted as what they were cut into."""

    @property
    def bytes(self) -> int:
        """The bytes of those."""

    @property
    def trains(self) -> int:
        """Trains cut."""

    @property
    def drops(self) -> dict[Drop, int]:
        """What was read and goes no further."""

    @property
    def rest(self) -> bool:
        """Whether a train goes on in another slot: nothing else tells of it."""

    def fill(self, slot: SlotView, tunnel: int) -> list[Run]:
        """Drain the device into an empty slot, until there is nothing more or the slot is full.

        Raises ``OSError`` when the device is gone.
        """


def device_reader(
    fd: int,
    *,
    vnet: bool,
    frame_header_bytes: int,
    ethernet: bool = False,
    tags_aside: bool = False,
) -> Reader:
    """Whichever twin is in use.

    ``frame_header_bytes`` is what stands between vnet header and packet and isn't sent: 0 for TUN,
    14 for a packet socket in its place. Without ``vnet`` the device gives one plain packet a read.
    ``ethernet``: packets are Ethernet frames; with ``tags_aside`` their VLAN tags come beside them.
    """
    module = twins.compiled("read")
    kind: Callable[..., Reader] = DeviceReader if module is None else module.DeviceReader
    return kind(
        fd,
        vnet=vnet,
        frame_header_bytes=frame_header_bytes,
        ethernet=ethernet,
        tags_aside=tags_aside,
    )


class DeviceReader:
    """The twin in Python; the parameters are those of :func:`device_reader`."""

    def __init__(
        self,
        fd: int,
        *,
        vnet: bool,
        frame_header_bytes: int,
        ethernet: bool = False,
        tags_aside: bool = False,
    ) -> None:
        self.fd = fd
        self.packets = 0
        self.bytes = 0
        self.trains = 0
        self.drops: dict[Drop, int] = {}
        self.is_full = False
        """Whether :meth:`fill` left something in the device last, for want of room."""
        self._vnet = vnet
        self._ethernet = ethernet
        self._shift = frame_header_bytes
        self._filling = Filling()
        self._ahead: int | None = None
        """The size of a frame that lies in the buffer and wasn't taken yet."""
        self._train: Train | None = None
        """What is left in the buffer of a train that didn't fit the last slot."""
        self._before: int | None = None
        """The size of the packet before, if that was alone and went on."""
        self._skip = skip = (VNET.size if vnet else 0) + frame_header_bytes
        frame = bytearray(skip + MAX_READ_BYTES)
        self._prefix = memoryview(frame)[:skip]
        self._packet = memoryview(frame)[skip:]
        self._array: Bytes = np.frombuffer(self._packet, dtype=np.uint8)
        self._read: Callable[[], int] = functools.partial(os.readv, fd, (frame,))
        """One frame, prefix and packet; returns its size. Raises BlockingIOError."""
        if tags_aside:
            self._read = TaggedFrames(fd, self._prefix, self._packet).read

    @property
    def rest(self) -> bool:
        """Whether a train goes on in another slot."""
        return self._train is not None

    def fill(self, slot: SlotView, tunnel: int) -> list[Run]:
        """Drain the device into an empty slot; see :class:`Reader`."""
        filling = self._filling
        filling.begin(slot)
        self._before = None
        self.is_full = True
        try:
            size = None if self._train is None else self._cut(self._train, tunnel)
            while True:
                while size is not None:
                    size = self._take(size - self._skip, tunnel)
                if self._train is not None or not filling.fits(*_ROOM):
                    break
                size = self._read() if self._ahead is None else self._ahead
                self._ahead = None
        except BlockingIOError:
            self.is_full = False  # but the device is empty
        return filling.finish()

    def lone(self, memory: memoryview) -> int | None:
        """Read one packet into an empty slot, with its tail, and no other; its size with that.

        ``None``: that was no packet, or isn't alone in its frame; :meth:`fill` says what it is, and
        raises what there is to be raised.
        """
        if self._train is not None or self._ahead is not None:
            return None
        try:
            self._ahead = self._read()
        except OSError:
            return None
        needs, size = None, self._ahead - self._skip
        if self._vnet:
            flags, kind, _, _, start, field = VNET.unpack_from(self._prefix)
            if kind & ~GSO_ECN != GSO_NONE:
                return None
            if flags & NEEDS_CHECKSUM:
                needs = (start - self._shift, field)
        if not _is_whole(size, needs):
            return None
        self._ahead = None
        end = size + TAIL_BYTES
        memory[:size] = self._packet[:size]
        memory[size:end] = _TAIL
        if needs:
            complete(memory, 0, end, *needs)
        self.packets += 1
        self.bytes += size
        return end

    def _take(self, size: int, tunnel: int) -> int | None:
        """Pass on what was read last, and what follows and is like it.

        Returns the size of a read that is none, and is still to be taken; or ``None`` where that is
        unknown. Raises BlockingIOError.
        """
        before, self._before = self._before, None
        if size < MIN_INNER_BYTES:
            self._drop(Drop.DEVICE_READ_SHORT)
            return None
        needs = None
        if self._vnet:
            flags, kind, _, segment, start, field = VNET.unpack_from(self._prefix)
            if kind & ~GSO_ECN != GSO_NONE:
                kind, start = kind & ~GSO_ECN, start - self._shift
                train = train_of(self._packet, size, kind, segment, start, ethernet=self._ethernet)
                if train is None:
                    self._drop(Drop.DEVICE_READ_LONG)
                    return None
                return self._cut(train, tunnel)
            if flags & NEEDS_CHECKSUM:
                needs = (start - self._shift, field)
        if not _is_whole(size, needs):
            self._drop(Drop.DEVICE_READ_LONG)
            return None
        self._filling.packet(tunnel, 0, self._packet[:size], needs)
        self.packets += 1
        self.bytes += size
        self._before = size
        return self._repeat(size + self._skip) if size == before else None

    def _cut(self, train: Train, tunnel: int) -> int | None:
        """Cut a train, and those like it that follow; returns and raises what :meth:`_take` does.

        A train that the slot has no room for is cut as far as there is; then nothing follows.
        """
        filling, packet, whole = self._filling, self._packet, train
        room = filling.room(train.head + train.segment)
        if train.packets > room:
            train = first_of(whole, room)
        _tcp, _version, _ip, _start, head, segment, count, rest, flags = train
        at = filling.train(tunnel, count, head + segment + 2, head + rest + 2)
        cutting = Cutting(filling.slot, at, train[:6], packet, self._array)
        cutting.add(count, rest, flags)
        self._train = without(packet, whole, room) if train is not whole else None
        try:
            follows = self._train is None and count > 1 and rest == segment
            return self._follow(cutting, train) if follows else None
        finally:
            trains, packets, octets = cutting.finish()
            self.trains += trains if self._train is None else 0
            self.packets += packets
            self.bytes += octets

    def _follow(self, cutting: Cutting, train: Train) -> int | None:
        """Cut what follows a train while it is like that, and returns and raises the same.

        Alike is what would be judged alike: its prefix, the bytes up to the IP header's first, and
        where TCP says that its payload begins.
        """
        tcp, _version, ip, start, head, segment, _count, rest, _flags = train
        filling, read, prefix, packet = self._filling, self._read, self._prefix, self._packet
        like, lead = prefix.tobytes(), packet[: ip + 1].tobytes()
        judged, flags = start + 12 if tcp else ip, start + 13
        offset, before = packet[judged], self._skip + head
        most, room = filling.repeats(*_ROOM), filling.follow()
        done = 0
        try:
            while done < most:
                came = read()
                count = -(-(came - before) // segment)
                if (
                    not 1 < count <= room - done
                    or prefix != like
                    or packet[: ip + 1] != lead
                    or packet[judged] != offset
                ):
                    return came
                rest = came - before - (count - 1) * segment
                cutting.add(count, rest, packet[flags])
                done += count
                if rest < segment:
                    break
            return None
        finally:
            if done:
                filling.followed(done, head + rest + 2)

    def _repeat(self, size: int) -> int | None:
        """Read on while packets come that are like the last one, as the prefix tells.

        Returns the size of a read that is none, and is still to be taken; or ``None``, once
        the slot has no room for whatever might come. Raises BlockingIOError.
        """
        filling, read, prefix = self._filling, self._read, self._prefix
        like = prefix.tobytes()
        stride = size - self._skip + TAIL_BYTES
        packet = self._packet[:stride]
        packet[-TAIL_BYTES:] = bytes(TAIL_BYTES)  # as it lies in the slot
        memory, first = filling.slot.memory, filling.end
        at, most = first, first + filling.repeats(*_ROOM) * stride
        try:
            while at < most:
                came = read()
                if came != size or prefix != like:
                    return came
                memory[at : at + stride] = packet
                at += stride
            return None
        finally:
            count = (at - first) // stride
            filling.repeated(count)
            self.packets += count
            self.bytes += count * (stride - TAIL_BYTES)

    def _drop(self, reason: Drop) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1


def _is_whole(size: int, needs: Checksum | None) -> bool:
    """Whether a packet has a size that may be, and room for the checksum that it needs."""
    if not MIN_INNER_BYTES <= size <= MAX_INNER_BYTES:
        return False
    return needs is None or 0 <= needs[0] <= size - 2 - needs[1]
