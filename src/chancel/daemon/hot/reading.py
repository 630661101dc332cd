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
    cut,
    train_of,
)
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
        self._vnet = vnet
        self._ethernet = ethernet
        self._shift = frame_header_bytes
        self._filling = Filling()
        self._ahead: int | None = None
        """The size of a frame that lies in the buffer and wasn't taken yet."""
        self._train: Train | None = None
        """What is left in the buffer of a train that didn't fit the last slot."""
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
        if self._train is not None:
            self._cut(self._train, tunnel)
        before: int | None = None
        try:
            while self._train is None and filling.fits(*_ROOM):
                size: int | None = self._read() if self._ahead is None else self._ahead
                self._ahead = None
                while size is not None:
                    if not self._take(size - self._skip, tunnel):
                        before = size = None
                    elif size == before:
                        size = self._repeat(size)
                    else:
                        before, size = size, None
        except BlockingIOError:
            pass  # the device is empty
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

    def _take(self, size: int, tunnel: int) -> bool:
        """Pass on what was read last; whether it was a lone packet that goes on."""
        if size < MIN_INNER_BYTES:
            self._drop(Drop.DEVICE_READ_SHORT)
            return False
        needs = None
        if self._vnet:
            flags, kind, _, segment, start, field = VNET.unpack_from(self._prefix)
            if kind & ~GSO_ECN != GSO_NONE:
                self._take_big(size, kind & ~GSO_ECN, segment, start - self._shift, tunnel)
                return False
            if flags & NEEDS_CHECKSUM:
                needs = (start - self._shift, field)
        if not _is_whole(size, needs):
            self._drop(Drop.DEVICE_READ_LONG)
            return False
        self._filling.packet(tunnel, 0, self._packet[:size], needs)
        self.packets += 1
        self.bytes += size
        return True

    def _take_big(self, size: int, kind: int, segment: int, start: int, tunnel: int) -> None:
        train = train_of(self._packet, size, kind, segment, start, ethernet=self._ethernet)
        if train is None:
            self._drop(Drop.DEVICE_READ_LONG)
        else:
            self._cut(train, tunnel)

    def _cut(self, train: Train, tunnel: int) -> None:
        self._train = rest = cut(self._array, self._filling, tunnel, train)
        self.packets += train.packets
        self.bytes += train.bytes
        if rest is None:
            self.trains += 1
        else:
            self.packets -= rest.packets
            self.bytes -= rest.bytes

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
