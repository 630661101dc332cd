"""Receiving runs: the fourth hot function. One call brings many datagrams of one size (GRO)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys

import numpy as np

from chancel.daemon.hot import twins
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS, Run, pack_address
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.datagram import CURRENT, MAX_DATAGRAM_BYTES, Layouts
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import Address

UDP_GRO = 104
READ_BYTES = 65_536
"""What one call may bring."""

_CONTROL_BYTES = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(64)
_DONTWAIT = int(socket.MSG_DONTWAIT)
_SIZE = struct.Struct("=i")
_MOST_RUNS = MAX_RUNS // 2
"""Opening may part each run in two: inner packets and graces."""

_MOST_CALLS = 512
"""Calls for one batch, so that a flood of what is dropped at once can't hold up the rest."""

Source = tuple[str, int] | tuple[str, int, int, int]
"""Where a datagram came from, as the socket says it: host and port; with IPv6 a flow and a zone."""

_PENDING = frozenset(
    {
        errno.EACCES,
        errno.ECONNREFUSED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EMSGSIZE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPROTO,
    }
)
"""What an ICMP error about something we sent becomes; taken off, and nothing is lost."""

_BOTH_MAGICS = MAGIC + CATHEDRAL.magic
_MAGIC = int.from_bytes(MAGIC, sys.byteorder)
_CATHEDRAL = int.from_bytes(CATHEDRAL.magic, sys.byteorder)


class UdpReceiver:
    """Receives from one socket and counts; remembers the packed form of the last source."""

    def __init__(self, udp: socket.socket, layouts: Layouts = CURRENT) -> None:
        self.udp = udp
        self.min_bytes = layouts.traffic.overhead_bytes
        self.offer_bytes = layouts.offer.offer_bytes
        self.datagrams = 0
        self.bytes = 0
        self.calls = 0
        self.drops: dict[Drop, int] = {}
        self._source: Source | None = None
        self._packed = b""
        self._compiled = twins.compiled("receive")

    def drain(self, slot: SlotView, runs: list[Run], at: int, tunnel: int) -> tuple[int, bool]:
        """As :func:`drain`, by whichever twin is in use."""
        if self._compiled is None:
            return drain(self, slot, runs, at, tunnel)
        at, is_empty, datagrams, octets, calls, too_short, too_long, self._packed, error = (
            self._compiled.receive_runs(
                self.udp.fileno(), slot, runs, at, tunnel, self.min_bytes, self._packed
            )
        )
        self.account(datagrams, octets, calls, too_short, too_long, error)
        return at, is_empty

    def account(
        self, datagrams: int, octets: int, calls: int, too_short: int, too_long: int, error: int
    ) -> None:
        """Count what compiled code has received. Raises OSError for an error of our own."""
        self.datagrams += datagrams
        self.bytes += octets
        self.calls += calls
        if too_short:
            self.drop(Drop.TOO_SHORT, too_short)
        if too_long:
            self.drop(Drop.TOO_LONG, too_long)
        if error:
            raise OSError(error, os.strerror(error))

    def magics(self, *, cathedrals: bool) -> bytes:
        """What offers begin with, eight bytes each; ``cathedrals``: what those say, too."""
        return _BOTH_MAGICS if cathedrals else MAGIC

    def lent(self, *, cathedrals: bool) -> tuple[object, ...]:
        """What turns need of it: compiled ones the descriptor, and the sizes that count."""
        magics = self.magics(cathedrals=cathedrals)
        if self._compiled is None:
            return self, magics
        return self.udp.fileno(), self.min_bytes, self.offer_bytes, magics

    def split_offers(
        self, slot: SlotView, runs: list[Run], *, cathedrals: bool
    ) -> tuple[list[Run], list[Run]]:
        """As :func:`split_offers`, by whichever twin is in use."""
        offer_bytes = self.offer_bytes
        if self._compiled is None:
            return split_offers(slot, runs, offer_bytes, cathedrals=cathedrals)
        magics = self.magics(cathedrals=cathedrals)
        return self._compiled.split_offers(slot, runs, offer_bytes, magics) or (runs, [])

    def drop(self, reason: Drop, count: int = 1) -> None:
        """Count datagrams that go no further."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def packed(self, source: Source) -> bytes:
        """The source address as a run carries it."""
        if source != self._source:
            self._source = source
            zone = source[3] if len(source) == 4 else 0
            host = f"{source[0]}%{zone}" if zone else source[0]
            self._packed = pack_address(Address(host, source[1]))
        return self._packed


def receive(udp: socket.socket, memory: memoryview) -> tuple[int, int, Source] | None:
    """Receive datagrams of one sender with one call, into the ``READ_BYTES`` of ``memory``.

    Returns how many bytes came, the size of each datagram (at least 1; the last may be shorter),
    and the sender; ``None`` after an error of the network about something sent earlier. Raises
    ``BlockingIOError`` when nothing waits.
    """
    try:
        size, control, _, source = udp.recvmsg_into([memory], _CONTROL_BYTES, _DONTWAIT)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _PENDING:
            raise
        return None
    segment = size
    for level, kind, data in control:
        if level == socket.SOL_UDP and kind == UDP_GRO:
            segment = _SIZE.unpack(data[:4])[0]
    return size, segment if 0 < segment <= size else size or 1, source


def drain(
    receiver: UdpReceiver, slot: SlotView, runs: list[Run], at: int, tunnel: int
) -> tuple[int, bool]:
    """Receive into a slot from offset ``at`` on until the socket is empty or the slot is full.

    Appends to ``runs`` (untrusted datagrams, none shorter than a heartbeat or longer than 1522
    bytes); returns the offset reached and whether the socket is empty.
    """
    memory, room, is_empty = slot.memory, len(slot.memory), False
    like: tuple[int, Source | None] = (0, None)
    left = more = 0
    for _ in range(_MOST_CALLS):
        if at + READ_BYTES > room or len(runs) >= _MOST_RUNS:
            break
        try:
            received = receive(receiver.udp, memory[at : at + READ_BYTES])
        except BlockingIOError:
            is_empty = True
            break
        if received is None:
            continue
        size, segment, source = received
        receiver.calls += 1
        if (segment, source) == like and size % segment == 0 and size // segment <= left - more:
            more += size // segment  # bulk: many trains that are alike become one run
            at += size
            continue
        _lengthen(receiver, runs, more)
        more = 0
        at += append(receiver, runs, at, size, segment, tunnel, source)
        like, left = _open_end(receiver, runs, at, tunnel, source)
    _lengthen(receiver, runs, more)
    return at, is_empty


def _open_end(
    receiver: UdpReceiver, runs: list[Run], at: int, tunnel: int, source: Source
) -> tuple[tuple[int, Source | None], int]:
    """What may follow the last run without a look at it, if that ends at ``at`` and came from this
    source: datagrams of its size, and how many."""
    run = runs[-1] if runs else None
    if (
        run is None
        or run.last != run.size
        or run.end != at
        or run.tunnel != tunnel
        or run.source != receiver.packed(source)
    ):
        return (0, None), 0
    return (run.size, source), MAX_RUN_PACKETS - run.packets


def _lengthen(receiver: UdpReceiver, runs: list[Run], more: int) -> None:
    """Describe and count so many datagrams more that lie behind the last run, like its own."""
    if more:
        run = runs[-1]
        runs[-1] = run._replace(packets=run.packets + more)
        receiver.datagrams += more
        receiver.bytes += more * run.size


def append(
    receiver: UdpReceiver,
    runs: list[Run],
    at: int,
    size: int,
    segment: int,
    tunnel: int,
    source: Source,
) -> int:
    """Describe what was received as a run; returns how far the slot is used by it."""
    count = max(1, -(-size // segment))
    last = size - (count - 1) * segment
    receiver.datagrams += count
    receiver.bytes += size
    if segment > MAX_DATAGRAM_BYTES:
        receiver.drop(Drop.TOO_LONG, count if last > MAX_DATAGRAM_BYTES else count - 1)
        if last > MAX_DATAGRAM_BYTES:
            return 0
        at, count, segment = at + size - last, 1, last
    if segment < receiver.min_bytes:
        receiver.drop(Drop.TOO_SHORT, count)
        return 0
    if last < receiver.min_bytes:
        receiver.drop(Drop.TOO_SHORT)
        count, last, size = count - 1, segment, size - last
    packed = receiver.packed(source)
    previous = runs[-1] if runs else None
    if (
        previous
        and previous.tunnel == tunnel
        and previous.source == packed
        and previous.end == at
        and previous.last == previous.size
        and previous.packets + count <= MAX_RUN_PACKETS
        and (segment == previous.size or (count == 1 and segment < previous.size))
    ):
        runs[-1] = previous._replace(packets=previous.packets + count, last=last)
    else:
        runs.append(Run(tunnel, 0, count, segment, last, at, packed))
    return size


def split_offers(
    slot: SlotView,
    runs: list[Run],
    offer_bytes: int = CURRENT.offer.offer_bytes,
    *,
    cathedrals: bool = False,
) -> tuple[list[Run], list[Run]]:
    """Part runs into (traffic, offers) by their size and their first eight bytes; a run without
    offers stays. ``cathedrals``: what cathedrals say are offers, too.

    Each offer becomes a run of its own; the traffic around it moves together, to stay one run.
    """
    for run in runs:
        if run.size >= offer_bytes:
            break
    else:
        return runs, []
    traffic: list[Run] = []
    offers: list[Run] = []
    for run in runs:
        if run.size < offer_bytes:
            traffic.append(run)
            continue
        magics = slot.column("=u8", run.offset, run.size, run.packets)
        marks = magics == _MAGIC
        if cathedrals:
            marks |= magics == _CATHEDRAL
        marks[-1] &= run.last >= offer_bytes
        if not np.count_nonzero(marks):
            traffic.append(run)
            continue
        others = _part(slot, run, marks.tolist(), offers)
        if others:
            traffic.append(others)
    return traffic, offers


def _part(slot: SlotView, run: Run, marks: list[bool], offers: list[Run]) -> Run | None:
    """Move the offers of a run behind its traffic; returns the run of that, if there is any."""
    data = bytes(slot.memory[run.offset : run.end])
    packets = [data[at : at + run.size] for at in range(0, len(data), run.size)]
    traffic = [packet for packet, is_offer in zip(packets, marks, strict=True) if not is_offer]
    found = [packet for packet, is_offer in zip(packets, marks, strict=True) if is_offer]
    slot.memory[run.offset : run.end] = b"".join(traffic + found)
    at = run.offset + sum(map(len, traffic))
    for offer in found:
        offers.append(run._replace(packets=1, size=len(offer), last=len(offer), offset=at))
        at += len(offer)
    if not traffic:
        return None
    return run._replace(packets=len(traffic), size=len(traffic[0]), last=len(traffic[-1]))
