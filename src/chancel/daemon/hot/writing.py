"""Writing the device: the sixth hot function.

What the filter lets pass is written; packets of one flow that follow each other become one big
packet again (``trains``, ``coalesce``), where the device takes such.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np

from chancel.daemon.config_types import Network
from chancel.daemon.filter import Filter, FrameFilter, InnerFilter, allowed
from chancel.daemon.hot import twins
from chancel.daemon.hot.coalesce import big_packets
from chancel.daemon.hot.cut import ETHERNET_BYTES, GSO_TCP4, GSO_TCP6, GSO_UDP, VNET
from chancel.daemon.hot.trains import Train, joints, recognise, seams
from chancel.daemon.hot.views import SlotView
from chancel.daemon.offloads import COALESCE, NONE, Offload
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EINVAL,
        errno.EIO,
        errno.EMSGSIZE,
        errno.ENETDOWN,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)
_KINDS: Final[Mapping[int, Offload]] = MappingProxyType(
    {
        GSO_TCP4: Offload.COALESCE_TCP4,
        GSO_TCP6: Offload.COALESCE_TCP6,
        GSO_UDP: Offload.COALESCE_UDP,
    }
)
_PLAIN = bytes(VNET.size)
_IP6_TYPE = b"\x86\xdd"


class Writer(Protocol):
    """What writes a device: :class:`DeviceWriter`, or its compiled twin."""

    @property
    def fd(self) -> int:
        """The device's descriptor, which isn't ours to close."""

    @property
    def joins(self) -> Set[int]:
        """The kinds of train that the device takes (``GSO_…``). One that it refuses is given up."""

    @property
    def refused(self) -> tuple[bytes, bytes]:
        """Source and target of the last packet refused for its addresses; IPv4 mapped into IPv6."""

    @property
    def packets(self) -> int:
        """Packets written."""

    @property
    def bytes(self) -> int:
        """The bytes of those, as they were written: headers of a train count once."""

    @property
    def writes(self) -> int:
        """System calls."""

    @property
    def drops(self) -> dict[Drop, int]:
        """What was not written."""

    def write(self, slot: SlotView, runs: list[Run]) -> None:
        """Write what may pass of some runs of inner packets (tails behind them), in order.

        The memory is ours alone: it is judged first and written afterwards. Raises ``OSError`` when
        the device is gone.
        """

    def write_run(self, slot: SlotView, run: Run) -> None:
        """The same for a run that was judged already."""


def device_writer(
    fd: int,
    networks: Iterable[Network],
    *,
    vnet: bool,
    frame_header: bytes,
    ethernet: bool = False,
    coalesce: Offload = COALESCE,
) -> Writer:
    """Whichever twin is in use.

    ``networks`` are those between which packets may pass. ``frame_header`` is what the device wants
    before each IPv4 packet: nothing, or an Ethernet header, which gets another type before IPv6.
    ``ethernet``: packets are Ethernet frames, whatever their addresses. ``coalesce``: the trains
    that the device takes, if it has ``vnet`` headers.
    """
    module = twins.compiled("write")
    if module is None:
        return DeviceWriter(
            fd,
            networks,
            vnet=vnet,
            frame_header=frame_header,
            ethernet=ethernet,
            coalesce=coalesce,
        )
    make: Callable[..., Writer] = module.DeviceWriter
    return make(
        fd,
        [(each.version, int(each.network_address), each.prefixlen) for each in networks],
        frame_header=frame_header,
        ethernet=ethernet,
        vnet=vnet,
        joins={kind for kind, offload in _KINDS.items() if offload in coalesce},
    )


def offloads_of(joins: Set[int]) -> Offload:
    """The kinds of train that a device takes, as offloads."""
    found = NONE
    for kind in joins:
        found |= _KINDS[kind]
    return found


class DeviceWriter:
    """The twin in Python; the parameters are those of :func:`device_writer`."""

    def __init__(
        self,
        fd: int,
        networks: Iterable[Network],
        *,
        vnet: bool,
        frame_header: bytes,
        ethernet: bool = False,
        coalesce: Offload = COALESCE,
    ) -> None:
        self.fd = fd
        self.joins = {kind for kind, offload in _KINDS.items() if vnet and offload in coalesce}
        self.packets = 0
        self.bytes = 0
        self.writes = 0
        self.drops: dict[Drop, int] = {}
        self._filter: Filter = FrameFilter() if ethernet else InnerFilter(networks)
        self._ip = ETHERNET_BYTES if ethernet else 0
        self._frame_header = frame_header
        self._frame_header6 = frame_header and frame_header[:-2] + _IP6_TYPE
        self._plain = (_PLAIN if vnet else b"") + frame_header
        self._plain6 = (_PLAIN if vnet else b"") + self._frame_header6

    @property
    def refused(self) -> tuple[bytes, bytes]:
        """Source and target of the last packet refused for its addresses."""
        return self._filter.refused

    def write(self, slot: SlotView, runs: list[Run]) -> None:
        """Write what may pass of some runs; see :class:`Writer`."""
        for run in runs:
            if run.packets > 1:
                self._write_many(slot, run)
                continue
            packet = slot.memory[run.offset : run.offset + run.size - TAIL_BYTES]
            reason = self._filter.judge(packet)
            if reason is None:
                self._write_one(packet)
            else:
                self._drop(reason)

    def write_lone(self, packet: bytes) -> bool:
        """Write one packet, unless it may not pass: then nothing has happened."""
        passes = self._filter.judge(packet) is None
        if passes:
            self._write_one(packet)
        return passes

    def write_run(self, slot: SlotView, run: Run) -> None:
        """Write a run that was judged already; see :class:`Writer`."""
        train = recognise(slot, run, self.joins, self._ip) if run.packets > 1 else None
        if train is None:
            self._write_each(slot, run, 0, run.packets)
            return
        starts = seams(slot, run, train)
        if starts is None:
            starts = np.flatnonzero(~joints(slot, run, train)).tolist()
        self._write_trains(slot, run, train, starts)

    def _write_many(self, slot: SlotView, run: Run) -> None:
        """Judge and write a run. The packets of one flow are judged by the first."""
        train = recognise(slot, run, self.joins, self._ip)
        starts = seams(slot, run, train) if train else None
        if train is None or starts is None:
            for part in allowed(self._filter, slot, run, self.drops):
                self.write_run(slot, part)
            return
        packet = slot.memory[run.offset : run.offset + run.size - TAIL_BYTES]
        reason = self._filter.judge(packet)
        if reason is None:
            self._write_trains(slot, run, train, starts)
        else:
            self._drop(reason, run.packets)

    def _write_trains(self, slot: SlotView, run: Run, train: Train, starts: list[int]) -> None:
        """Write a run as big packets where the device takes such, and what is alone as it is."""
        layout = train.layout
        frame_header = self._frame_header if layout.version == 4 else self._frame_header6
        for first, stop, size, parts in big_packets(slot, run, train, starts, frame_header):
            if not parts:
                self._write_each(slot, run, first, stop)
                continue
            self.writes += 1
            try:
                os.writev(self.fd, parts)
            except OSError as error:
                self._pass(error)
                if error.errno == errno.EINVAL:
                    self.joins.discard(layout.kind)
                    self._write_each(slot, run, first, stop)
                else:
                    self._drop(Drop.DEVICE_WRITE_FAILED, stop - first)
            else:
                self.packets += stop - first
                self.bytes += size

    def _write_each(self, slot: SlotView, run: Run, first: int, stop: int) -> None:
        """Write the packets ``first`` to ``stop`` of a run one by one."""
        memory, end, size = slot.memory, run.end, run.size
        for at in range(run.offset + first * size, min(run.offset + stop * size, end), size):
            self._write_one(memory[at : min(at + size, end) - TAIL_BYTES])

    def _write_one(self, packet: memoryview | bytes) -> None:
        """Write one packet as it is; the kernel verifies its checksums."""
        self.writes += 1
        try:
            os.writev(self.fd, (self._plain6 if packet[0] >> 4 == 6 else self._plain, packet))
        except OSError as error:
            self._pass(error)
            self._drop(Drop.DEVICE_WRITE_FAILED)
        else:
            self.packets += 1
            self.bytes += len(packet)

    @staticmethod
    def _pass(error: OSError) -> None:
        """Go on if the device takes just this, or nothing just now; raise again if it is gone."""
        if error.errno not in _PASSING:
            raise error

    def _drop(self, reason: Drop, count: int = 1) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + count
