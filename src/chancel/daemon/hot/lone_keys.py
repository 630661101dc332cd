"""Turns in Python of the two processes that have keys: bless and confess."""

from __future__ import annotations

from typing import NamedTuple

from chancel.daemon.hot.lone import CARRIED, LEFT, LoneTurns
from chancel.daemon.hot.open import open_ordinary
from chancel.daemon.lane import LaneReader, LaneWriter
from chancel.daemon.loop import Poll
from chancel.daemon.run import MAX_PACKET_BYTES
from chancel.protocol.opening import Slot
from chancel.protocol.traffic import SendKey
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


class SealTurns(LoneTurns):
    """Seals unmarked inner packets of tunnels that have a key."""

    def __init__(self, poll: Poll, source: LaneReader, target: LaneWriter) -> None:
        super().__init__(poll)
        self._fd = source.fileno()
        self._in, self._out = source, target
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
        if fd != self._fd or (lone := self._in.lone()) is None:
            return LEFT
        number, tunnel, next_, source, text = lone
        sending = self._keys.get(tunnel)
        size = len(text)
        if sending is None or next_ != NEXT_INNER or source != _UNMARKED or size < TAIL_BYTES:
            return LEFT
        key, layout, most, until = sending
        end = layout.header_bytes + size + TAG_BYTES
        if (
            end > MAX_PACKET_BYTES
            or key.next_number >= most
            or now >= until
            or (slot := self._out.slot()) is None
        ):
            return LEFT
        first = key.next_number
        key.next_number = first + 1
        key.last_at = now
        to, memory = slot
        header = numbered(key.header, first)
        at = len(header)
        memory[:at] = header
        bound = layout.associated_data(header)
        key.aead.encrypt_into(key.salt + header[8:16], text, bound, memory[at:end])
        self._out.send_lone(to, tunnel, end)
        self._in.release_lone(number)
        self._bytes[tunnel] = self._bytes.get(tunnel, 0) + end
        return CARRIED


class _Receiving(NamedTuple):
    """The key that a tunnel's peer uses, where the peer is, and until when all that is so."""

    slot: Slot
    layout: TrafficLayout
    flocks: bytes
    source: bytes
    until: float


class OpenTurns(LoneTurns):
    """Opens what is no news: an inner packet under the key in use, from where the peer is, numbered
    higher than all before, and authentic."""

    def __init__(self, poll: Poll, source: LaneReader, target: LaneWriter) -> None:
        super().__init__(poll)
        self._fd = source.fileno()
        self._in, self._out = source, target
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
        if fd != self._fd or (lone := self._in.lone()) is None:
            return LEFT
        number, tunnel, _next, source, packet = lone
        receiving = self._keys.get(tunnel)
        if receiving is None or source != receiving.source or now >= receiving.until:
            return LEFT
        if (slot := self._out.slot()) is None:
            return LEFT
        key, layout, flocks, _source, _until = receiving
        to, memory = slot
        datagram = bytes(packet)  # ours: its writer may go on changing the other one
        end = open_ordinary(key, layout, flocks, datagram, memory, 0)
        if end is None:
            return LEFT
        self._out.send_lone(to, tunnel, end, source)
        self._in.release_lone(number)
        packets, octets, _ = self._carried.get(tunnel, (0, 0, now))
        self._carried[tunnel] = packets + 1, octets + end - TAIL_BYTES, now
        return CARRIED
