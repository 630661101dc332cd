"""Turns in Python of the two processes that have keys: bless and confess."""

from __future__ import annotations

from typing import NamedTuple

from chancel.daemon.hot.open import all_inner, open_all, open_ordinary
from chancel.daemon.hot.seal import kept_nonces, seal_all
from chancel.daemon.hot.turn import CARRIED, LEFT, PlainTurns
from chancel.daemon.hot.views import SlotView
from chancel.daemon.lane import LaneCopy, LaneReader, LaneWriter
from chancel.daemon.loop import Poll
from chancel.daemon.run import LONE, MAX_PACKET_BYTES, Run
from chancel.protocol.opening import Slot
from chancel.protocol.traffic import Reservation, SendKey
from chancel.wire.traffic import (
    NEXT_INNER,
    TAG_BYTES,
    TAIL_BYTES,
    TrafficLayout,
    numbered,
)

_UNMARKED = bytes(18)


class _Sending(NamedTuple):
    """The key under which a tunnel's packets are sealed, as long as its next number is below
    ``most`` and the time before ``until``."""

    key: SendKey
    layout: TrafficLayout
    most: int
    until: float


class SealTurns(PlainTurns):
    """Seals unmarked inner packets of tunnels that have a key."""

    def __init__(self, poll: Poll, source: LaneReader, target: LaneWriter) -> None:
        super().__init__(poll)
        self._fd = source.fileno()
        self._in, self._out = source, target
        self._nonces = kept_nonces()
        self._keys: dict[int, _Sending] = {}
        self._bytes: dict[int, int] = {}

    def serve(
        self, tunnel: int, key: SendKey, layout: TrafficLayout, most: int, age_s: float
    ) -> None:
        """Seal a tunnel's packets under this key from now on: as long as the key's next number
        doesn't exceed ``most``, and it is younger than ``age_s``."""
        self._keys[tunnel] = _Sending(key, layout, most, key.installed_at + age_s)

    def forget(self, tunnel: int) -> None:
        """Carry nothing for a tunnel any more, and forget its key."""
        self._keys.pop(tunnel, None)

    def carried(self) -> list[tuple[int, int]]:
        """What was carried since this was asked last: tunnels, and the bytes of their datagrams."""
        carried = list(self._bytes.items())
        self._bytes.clear()
        return carried

    def carry(self, fd: int, now: float) -> int:
        if fd != self._fd or (seen := self._in.look()) is None:
            return LEFT
        number, view, run = seen
        tunnel, next_, packets, size, last, offset, source = run
        sending = self._keys.get(tunnel)
        if sending is None or next_ != NEXT_INNER or source != _UNMARKED or last < TAIL_BYTES:
            return LEFT
        key, layout, most, until = sending
        growth = layout.header_bytes + TAG_BYTES
        octets = packets * growth + (packets - 1) * size + last
        if (
            size + growth > MAX_PACKET_BYTES
            or octets > self._out.slot_bytes
            or key.next_number + packets > most
            or now >= until
            or (slot := self._out.slot()) is None
        ):
            return LEFT
        first = key.next_number
        key.next_number = first + packets
        key.last_at = now
        to, memory = slot
        if packets == 1:
            header = numbered(key.header, first)
            at = len(header)
            memory[:at] = header
            text, bound = view.memory[offset : offset + size], layout.associated_data(header)
            key.aead.encrypt_into(key.salt + header[8:16], text, bound, memory[at:octets])
            token = LONE.pack(to, tunnel, 0, 1, octets, octets, 0, source)
        else:
            keys = Reservation(key.aead, key.salt, first, key.header, layout, packets)
            seal_all(keys, first, self._nonces, view, run, self._out.views[to], 0)
            token = LONE.pack(to, tunnel, 0, packets, size + growth, last + growth, 0, source)
        self._out.hand_over(to, token, lone=packets == 1)
        self._in.done(number, lone=packets == 1)
        self._bytes[tunnel] = self._bytes.get(tunnel, 0) + octets
        return CARRIED


class _Receiving(NamedTuple):
    """The key that a tunnel's peer uses, where the peer is, and until when all that is so."""

    slot: Slot
    layout: TrafficLayout
    flocks: bytes
    source: bytes
    until: float


class OpenTurns(PlainTurns):
    """Opens what is no news: inner packets under the key in use, from where the peer is, numbered
    higher than all before, and authentic."""

    def __init__(self, poll: Poll, source: LaneReader, target: LaneWriter, copy: LaneCopy) -> None:
        super().__init__(poll)
        self._fd = source.fileno()
        self._in, self._out, self._copy = source, target, copy
        self._nonces = kept_nonces()
        self._keys: dict[int, _Receiving] = {}
        self._carried: dict[int, tuple[int, int, float]] = {}

    def serve(
        self,
        tunnel: int,
        slot: Slot,
        layout: TrafficLayout,
        flocks: bytes,
        source: bytes,
        until: float,
    ) -> None:
        """Open a tunnel's packets from now on and ``until`` then: those under the key of ``slot``
        between these ``flocks`` from this packed ``source``."""
        self._keys[tunnel] = _Receiving(slot, layout, flocks, source, until)

    def forget(self, tunnel: int) -> None:
        """Carry nothing for a tunnel any more, and forget its key."""
        self._keys.pop(tunnel, None)

    def carried(self) -> list[tuple[int, int, int, float]]:
        """What was carried since this was asked last: tunnels; how many packets, the bytes in
        them, and when the last came."""
        carried = [(tunnel, *told) for tunnel, told in self._carried.items()]
        self._carried.clear()
        return carried

    def carry(self, fd: int, now: float) -> int:
        if fd != self._fd or (seen := self._in.look()) is None:
            return LEFT
        number, view, run = seen
        tunnel, _next, packets, size, _last, offset, source = run
        receiving = self._keys.get(tunnel)
        if (
            receiving is None
            or source != receiving.source
            or now >= receiving.until
            or (slot := self._out.slot()) is None
        ):
            return LEFT
        if packets == 1:
            packet = view.memory[offset : offset + size]
            octets = self._open_lone(receiving, packet, tunnel, *slot)
        else:
            octets = self._open_whole(receiving, self._copy.take(view.memory, run), run, slot[0])
        if octets is None:
            return LEFT
        self._in.done(number, lone=packets == 1)
        others, their_octets, _ = self._carried.get(tunnel, (0, 0, now))
        self._carried[tunnel] = others + packets, their_octets + octets, now
        return CARRIED

    def _open_lone(
        self, receiving: _Receiving, packet: memoryview, tunnel: int, to: int, memory: memoryview
    ) -> int | None:
        """Open one packet into the slot at hand and hand it on; the bytes in it."""
        key, layout, flocks, source, _until = receiving
        datagram = bytes(packet)  # ours: its writer may go on changing the other one
        end = open_ordinary(key, layout, flocks, datagram, memory, 0)
        if end is None:
            return None
        token = LONE.pack(to, tunnel, NEXT_INNER, 1, end, end, 0, source)
        self._out.hand_over(to, token, lone=True)
        return end - TAIL_BYTES

    def _open_whole(self, receiving: _Receiving, copied: SlotView, run: Run, to: int) -> int | None:
        """Open many packets into the slot at hand and hand them on; the bytes in them."""
        key, layout, flocks, source, _until = receiving
        tunnel, _next, packets, size, last, _offset, _source = run
        if last < layout.overhead_bytes:
            return None
        target = self._out.views[to]
        numbers = open_all(key, layout, flocks, self._nonces, copied, run, target, 0)
        if numbers is None:
            return None
        shrink = layout.overhead_bytes - TAIL_BYTES
        opened = Run(tunnel, NEXT_INNER, packets, size - shrink, last - shrink, 0, source)
        if not all_inner(target, opened):
            return None
        key.window.mark_all(numbers)
        self._out.hand_over(to, LONE.pack(to, *opened), lone=False)
        return opened.end - packets * TAIL_BYTES
